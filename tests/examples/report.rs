//! Runs the harness against the reference service in this process and prints the report; with a folder, it writes every other
//! format there too: `cargo run -p trueline-tests --example report -- [seed] [fault] [folder]`. Without a fault: `none`.

use std::path::Path;

use trueline_conformance::report::{to_har, to_html, to_json, to_junit, to_sarif, write_whole};
use trueline_tests::faults::FAULTS;
use trueline_tests::{ragchats, suite};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let seed = arguments.next().map(|seed| seed.parse()).transpose()?.unwrap_or(0);
    let fault = match arguments.next() {
        Some(name) if name == "none" => None,
        Some(name) => Some(*FAULTS.iter().find(|fault| fault.name == name).ok_or("there is no such fault")?),
        None => None,
    };
    let service = ragchats(fault).await?;
    let report = suite(service.profile)?.seed(seed).run(service.target).await?;
    println!("{report}");
    if let Some(folder) = arguments.next() {
        let file = |name: &str| Path::new(&folder).join(name);
        write_whole(&file("report.json"), &to_json(&report)?)?;
        write_whole(&file("report.html"), to_html(&report).as_bytes())?;
        write_whole(&file("report.sarif"), &to_sarif(&report)?)?;
        write_whole(&file("report.har"), &to_har(&report)?)?;
        write_whole(&file("junit.xml"), &to_junit(&report)?)?;
    }
    Ok(())
}
