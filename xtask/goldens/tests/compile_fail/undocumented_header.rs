//! `Retry-After` is not a header of this answer.

use trueline_goldens::kitchen::server::ListThingsOk;

fn main() {
    let _ = ListThingsOk { body: Vec::new(), x_total: 0, retry_after: 1 };
}
