//! The depot behind a listener: `cargo run -p trueline-depot --example serve -- [FAULT]`. The first line that it prints is its
//! address. `list` prints the catalogue instead, `profile FAULT` what the harness needs to know of it.

use trueline_depot::{Depot, FAULTS, PROFILE};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let first = arguments.next().unwrap_or_default();
    let known = |name: &str| FAULTS.iter().find(|fault| fault.name == name);
    match first.as_str() {
        "list" => FAULTS.iter().for_each(|fault| println!("{} {}", fault.name, fault.check)),
        "profile" => {
            let fault = known(&arguments.next().unwrap_or_default());
            println!("{PROFILE}\n{}", fault.map_or("", |fault| fault.profile));
        }
        name => {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
            println!("http://{}", listener.local_addr()?);
            axum::serve(listener, Depot::new(known(name).map_or("", |fault| fault.name)).router()).await?;
        }
    }
    Ok(())
}
