//! Ctrl-C: once to stop sending and finish the report, twice to die at once.

use tokio::sync::watch;
use trueline_conformance::report::ExitCode;

use super::output;

/// Becomes true at the first Ctrl-C (or SIGTERM, which is how build systems cancel). A second one ends the process.
pub(crate) fn on_signal() -> watch::Receiver<bool> {
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        signal().await;
        output::say("\nstopping: no further request is sent, the report is being finished; again to stop at once");
        // Without receivers the run is over already.
        let _ = stop.send(true);
        signal().await;
        std::process::exit(i32::from(ExitCode::Interrupted.code()));
    });
    stopped
}

#[cfg(unix)]
async fn signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        },
        Err(_) => interrupt().await,
    }
}

#[cfg(not(unix))]
async fn signal() {
    interrupt().await;
}

async fn interrupt() {
    if tokio::signal::ctrl_c().await.is_err() {
        // No handler can be set: the system's own answer to Ctrl-C stays, and there is nothing to wait for.
        std::future::pending::<()>().await;
    }
}
