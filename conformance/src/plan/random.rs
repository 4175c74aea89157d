//! Phase `random`: values made by proptest strategies from the schemas, half of them valid, half with exactly one fault.
//! Case n is a pure function of contract, seed and n.

use serde::{Deserialize, Serialize};
use trueline_spec::contract::{Operation, ParameterPlace};

use super::boundary::{check_of, note, sendable, set_argument};
use super::{Entry, Planner};
use crate::case::{Call, CallBody, Caller, Case, Expect, Part, Phase};
use crate::data::{Verdict, wire};

/// Which side of the contract a case is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Polarity {
    /// All of it is valid.
    Valid,
    /// Exactly one thing is not.
    Invalid,
}

pub(super) fn entries(planner: &Planner<'_>) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (operation, documented) in planner.operations() {
        let callers = planner.callers(documented);
        if callers.is_empty() {
            continue;
        }
        // An operation without input has one request only; the other phases send that.
        let has_input = documented.body.is_some()
            || documented.parameters.iter().any(|parameter| parameter.place != ParameterPlace::Path);
        let has_path = documented.path_parameters().next().is_some();
        let half = planner.options.random_cases.div_ceil(2);
        for polarity in [Polarity::Valid, Polarity::Invalid] {
            let count = match (polarity, has_input, has_path) {
                (_, true, _) => half,
                (Polarity::Invalid, false, true) => half.min(4),
                _ => 0,
            };
            if count > 0 {
                entries.push(Entry::Random { operation, polarity, count, callers: callers.clone() });
            }
        }
    }
    entries
}

/// What the ids of an operation's random cases start with.
pub(super) fn id_prefix(operation: &Operation, polarity: Polarity) -> String {
    let polarity = if polarity == Polarity::Valid { "valid" } else { "invalid" };
    format!("random/{}/{polarity}/", operation.id)
}

pub(super) fn case(
    planner: &Planner<'_>,
    operation: usize,
    polarity: Polarity,
    callers: &[Caller],
    index: u64,
) -> Option<Case> {
    let caller = &callers[(index % callers.len() as u64) as usize];
    let documented = planner.subject.operation(operation);
    let mut dice = Dice::new(planner.options.seed, &documented.id, polarity, index);
    let mut call = Call {
        operation,
        caller: caller.clone(),
        from: None,
        arguments: Vec::new(),
        body: None,
        twist: None,
        expect: Expect::Valid { bound: false },
    };
    for (number, parameter) in documented.parameters.iter().enumerate() {
        if parameter.required || (dice.roll().is_multiple_of(2) && !planner.is_opaque(operation, number)) {
            let generator = planner.subject.parameter_generator(operation, number)?;
            // A value that cannot stand where it should is drawn again; after that the part is left out if it may be.
            let value = (0..4).find_map(|_| {
                let value = generator.sample(dice.roll(), index);
                wire::encode_parameter(parameter, &value).is_ok().then_some(value)
            });
            match value {
                Some(value) => set_argument(&mut call, number, value),
                None if parameter.required => return None,
                None => {}
            }
        }
    }
    if let Some(body) = &documented.body
        && (body.required || !dice.roll().is_multiple_of(4))
    {
        let media = (dice.roll() % body.media.len() as u64) as usize;
        let generator = planner.subject.body_generator(operation, media)?;
        let value = generator.sample(dice.roll(), index);
        call.body = Some(CallBody::Value { media, value, bindings: Vec::new() });
    }
    planner.bind(&mut call);
    if polarity == Polarity::Invalid {
        break_one(planner, &mut call, &mut dice, index)?;
    }
    Some(Case {
        id: format!("{}{index}", id_prefix(documented, polarity)),
        phase: Phase::Random,
        check: check_of(&call.expect).into(),
        script: crate::case::Script::Single(Box::new(call)),
    })
}

/// Puts exactly one fault into a valid call: into a parameter or into the body, whichever the dice say and can be broken.
fn break_one(planner: &Planner<'_>, call: &mut Call, dice: &mut Dice, index: u64) -> Option<()> {
    let documented = planner.subject.operation(call.operation);
    let mut parts: Vec<Part> = (0..documented.parameters.len()).map(Part::Parameter).collect();
    if documented.body.is_some() {
        // A body has many places for a fault, a parameter few.
        parts.extend([Part::Body, Part::Body, Part::Body]);
    }
    if parts.is_empty() {
        return None;
    }
    for _ in 0..8 {
        let part = parts[(dice.roll() % parts.len() as u64) as usize].clone();
        match &part {
            Part::Parameter(number) => {
                let parameter = &documented.parameters[*number];
                let generator = planner.subject.parameter_generator(call.operation, *number)?;
                let Some(boundary) = generator.invalid(dice.roll(), index) else { continue };
                let Some(expect @ Expect::Invalid(_)) = sendable(parameter, &boundary, generator, part.clone()) else {
                    continue;
                };
                set_argument(call, *number, boundary.value);
                call.expect = expect;
                return Some(());
            }
            Part::Body => {
                let body = documented.body.as_ref()?;
                let media = match &call.body {
                    Some(CallBody::Value { media, .. }) => *media,
                    _ => super::preferred_media(body),
                };
                let Some(generator) = planner.subject.body_generator(call.operation, media) else { continue };
                let Some(boundary) = generator.invalid(dice.roll(), index) else { continue };
                let Verdict::Invalid(fault) = &boundary.verdict else { continue };
                if wire::encode_body(&body.media[media], &boundary.value).is_err()
                    || wire::is_valid_once_written(&body.media[media], &boundary, generator)
                {
                    continue;
                }
                let note = note(Part::Body, fault);
                call.expect = Expect::Invalid(note.clone());
                call.body = Some(CallBody::Value { media, value: boundary.value, bindings: Vec::new() });
                planner.bind_around(call, &note);
                return Some(());
            }
        }
    }
    None
}

/// A stream of numbers that depends on seed, operation, polarity and index alone (SplitMix64).
struct Dice(u64);

impl Dice {
    fn new(seed: u64, operation: &str, polarity: Polarity, index: u64) -> Self {
        // FNV-1a over the operation's id: the standard library's hasher may change between releases.
        let id = operation
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let polarity = if polarity == Polarity::Valid { 1 } else { 2 };
        Dice(
            seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)
                ^ id
                ^ (polarity << 56)
                ^ index.wrapping_mul(0xd6e8_feb8_6659_fd93),
        )
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
