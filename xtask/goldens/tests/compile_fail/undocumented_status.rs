//! 201 is not an answer of this operation; 409 is not a failure of an API that fails by status only.

use trueline_goldens::kitchen::server::GetThingResponse;
use trueline_goldens::message::server::GetPersonaError;

fn main() {
    let _ = |thing| GetThingResponse::Created(thing);
    let _ = |problem| GetPersonaError::Conflict(problem);
}
