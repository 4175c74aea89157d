//! `thing_taken` is a code of this API, but not of this operation.

use trueline_goldens::kitchen::problems;
use trueline_goldens::kitchen::server::GetThingError;

fn by_variant() -> GetThingError {
    GetThingError::ThingTaken(problems::ThingTaken::because("Taken."))
}

fn by_question_mark() -> Result<(), GetThingError> {
    Err(problems::ThingTaken::because("Taken."))?
}

fn main() {
    let _ = (by_variant, by_question_mark);
}
