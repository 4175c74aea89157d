//! A service that leaves out the one operation of the section Analytics.

use contract_ragchats::server::Analytics;

struct Service;

impl Analytics for Service {
    type Principal = ();
}

fn main() {}
