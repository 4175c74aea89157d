//! A router without the services of one section.

use std::sync::Arc;
use trueline_goldens::kitchen::server::Services;

fn main() {
    let _ = Services { things: Arc::new(()) };
}
