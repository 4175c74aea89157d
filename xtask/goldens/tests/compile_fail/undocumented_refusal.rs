//! A gate answers 401 and 403 as the contract lists them, and nothing else.

use trueline_goldens::kitchen::problems;
use trueline_goldens::kitchen::server::GateFailure;

fn main() {
    let _: GateFailure = problems::ThingTaken::because("Taken.").into();
}
