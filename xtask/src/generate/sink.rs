//! Everything that cannot be generated, collected: one run tells its user all of it.

use std::cell::RefCell;
use std::sync::Arc;

use trueline_spec::contract::Contract;
use trueline_spec::document::Location;
use trueline_spec::{Problem, Problems};

/// Where the emitters put what they cannot express.
#[derive(Debug, Default)]
pub(super) struct Sink(RefCell<Vec<Problem>>);

impl Sink {
    /// Something at a place that cannot be expressed.
    pub(super) fn refuse(&self, at: &Location, title: impl Into<String>) {
        self.add(Problem::new(title).at(at));
    }

    /// The same with a way out.
    pub(super) fn refuse_with_help(&self, at: &Location, title: impl Into<String>, help: impl Into<String>) {
        self.add(Problem::new(title).at(at).help(help));
    }

    /// Any problem; the same one twice is one.
    pub(super) fn add(&self, problem: Problem) {
        let mut list = self.0.borrow_mut();
        if !list.iter().any(|other| other.title == problem.title && other.at == problem.at) {
            list.push(problem);
        }
    }

    /// Whether nothing is wrong so far.
    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Ends the collection: all problems in the order of the document.
    pub(super) fn finish(self, contract: &Contract) -> Result<(), Problems> {
        let mut list = self.0.into_inner();
        if list.is_empty() {
            return Ok(());
        }
        list.sort_by_cached_key(|problem| {
            let position = problem.position(&contract.document);
            (problem.at.as_ref().map(|at| at.file), position, problem.title.clone())
        });
        Err(Problems::new(Arc::clone(&contract.document), list))
    }
}

/// The place below a place.
pub(super) fn below(at: &Location, token: &str) -> Location {
    let token = token.replace('~', "~0").replace('/', "~1");
    Location { file: at.file, pointer: format!("{}/{token}", at.pointer).into() }
}
