use super::super::{Break, Meta, Seen, Verdicts};
use super::schema::{place, shorten};
use crate::clause::ClauseId;
use crate::data::stream::{Item, Stream};
use crate::finding::Offending;
use crate::subject::ItemValidators;

/// Of one stream, no more than this many broken items are told: they are most often broken in the same way.
const MOST: usize = 4;

/// Holds each item of a streamed answer to the item's schema; false if nothing was said.
///
/// An event fits if its schema accepts any of the ways to read it ([`crate::data::stream::Event::readings`]). Where the schema
/// describes the JSON inside of `data`, that is looked at too.
pub(super) fn judge(
    meta: &'static Meta,
    clause: ClauseId,
    seen: &Seen<'_>,
    (response, media): (usize, usize),
    stream: Stream,
    verdicts: &mut Verdicts,
) -> bool {
    let operation = seen.call.operation;
    let Some(validators) = seen.subject.item_validators(operation, response, media) else { return false };
    let items = stream.items(&seen.response.body, !seen.response.is_cut());
    let documented = seen.subject.operation(operation);
    let (mut broken, some) = (0, !items.is_empty());
    for (number, item) in items.iter().enumerate() {
        let Some(reason) = wrong(item, validators) else { continue };
        broken += 1;
        if broken > MOST {
            break;
        }
        let what = if stream == Stream::Events { "event" } else { "item" };
        let title = format!("an {what} of {} does not fit its schema", documented.id);
        let (pointer, keyword, actual) = reason;
        let expected = format!("{what} {} with {} as the schema says", number + 1, place(&pointer));
        verdicts.broke(
            Break::new(meta, clause, title)
                .with_values(expected, shorten(&actual))
                .with_cause(format!("{what} {keyword} {pointer}"))
                .with_offending(Offending::Body(String::new())),
        );
    }
    if broken == 0 && some {
        verdicts.hold(clause);
    }
    some
}

/// Why an item does not fit: the place in it, the keyword, and what is wrong.
fn wrong(item: &Item, validators: &ItemValidators) -> Option<(String, String, String)> {
    let first = |validator: &jsonschema::Validator, value: &serde_json::Value| {
        let error = validator.iter_errors(value).next()?;
        Some((error.instance_path().to_string(), error.schema_path().to_string(), error.to_string()))
    };
    match item {
        Item::Broken(text) => Some((String::new(), "json".to_owned(), format!("no JSON: {text}"))),
        Item::Json(value) => {
            first(&validators.plain, value).or_else(|| validators.opened.as_ref().and_then(|one| first(one, value)))
        }
        Item::Event(event) if event.is_farewell() => None,
        Item::Event(event) => {
            let readings = event.readings();
            let fits = |validator: &jsonschema::Validator| readings.iter().any(|value| validator.is_valid(value));
            let failed =
                [Some(&validators.plain), validators.opened.as_ref()].into_iter().flatten().find(|one| !fits(one))?;
            // The reading with the JSON opened says most: it is the second where there is one.
            first(failed, readings.get(1).filter(|_| readings.len() > 2).unwrap_or(&readings[0]))
        }
    }
}
