//! The depot behind a listener: `cargo run -p trueline-tests --example serve_depot -- [FAULT]`. The first line that it prints is its
//! address; `list` for the fault prints the catalogue instead.

use trueline_tests::depot::{Depot, FAULTS};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let name = std::env::args().nth(1).unwrap_or_default();
    if name == "list" {
        FAULTS.iter().for_each(|(fault, check)| println!("{fault} {check}"));
        return Ok(());
    }
    let fault = FAULTS.iter().map(|(fault, _)| *fault).find(|fault| *fault == name).unwrap_or_default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, Depot::new(fault).router()).await?;
    Ok(())
}
