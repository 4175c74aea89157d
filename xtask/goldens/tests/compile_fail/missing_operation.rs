//! A service that leaves an operation out.

use trueline_goldens::message::server::Personas;

struct Service;

impl Personas for Service {
    type Principal = ();
}

fn main() {}
