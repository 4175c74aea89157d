//! What a run is doing right now: a live line on a terminal, a plain line a phase elsewhere.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::text::{count, one_line};
use crate::event::Event;

/// Shows on standard error how far a run is. Results go elsewhere, so nothing is lost when nobody looks.
#[derive(Debug)]
pub struct Progress {
    display: Display,
    phase: usize,
    phases: usize,
    findings: usize,
}

#[derive(Debug)]
enum Display {
    Live(ProgressBar),
    Plain,
    Silent,
}

impl Progress {
    /// Live if standard error is a terminal that can move its cursor; one line a phase without any control characters if
    /// not.
    pub fn on_stderr() -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let display = if std::io::stderr().is_terminal() && !dumb {
            // Nobody reads faster than that, and drawing costs time that requests could use.
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8));
            bar.set_style(style("{spinner} {prefix} {msg}"));
            // Keeps the clock going while a run waits for a rate window.
            bar.enable_steady_tick(Duration::from_millis(250));
            Display::Live(bar)
        } else {
            Display::Plain
        };
        Progress { display, phase: 0, phases: 0, findings: 0 }
    }

    /// Shows nothing.
    pub fn silent() -> Self {
        Progress { display: Display::Silent, phase: 0, phases: 0, findings: 0 }
    }

    /// Takes the next event. `findings`: how many causes are confirmed so far.
    pub fn take(&mut self, event: &Event, findings: usize) {
        match event {
            Event::RunStarted(header) => self.phases = header.phases.len(),
            Event::PhaseStarted { phase, cases } => {
                self.phase += 1;
                let of = format!("{} ({} of {})", phase, self.phase, self.phases.max(self.phase));
                match &self.display {
                    Display::Live(bar) => {
                        bar.reset();
                        bar.set_length(*cases);
                        bar.set_style(style(
                            "{spinner} {prefix} {wide_bar} {human_pos}/{human_len} · {rate} · {msg} · {elapsed}",
                        ));
                        bar.set_prefix(of);
                    }
                    Display::Plain => say(&format!("phase {of}: {}", count(*cases, "case"))),
                    Display::Silent => {}
                }
                self.message(findings);
            }
            Event::CaseFinished { .. } | Event::CaseSkipped { .. } => {
                if let Display::Live(bar) = &self.display {
                    bar.inc(1);
                }
            }
            Event::Note { text } => {
                if let Display::Live(bar) = &self.display {
                    bar.set_message(one_line(text, 80));
                }
            }
            Event::RunFinished(_) => self.finish(),
            Event::RunInvoked(_)
            | Event::RunFailed { .. }
            | Event::FindingConfirmed(_)
            | Event::Flaky { .. }
            | Event::ClockAdvanced { .. } => {}
        }
        if findings != self.findings {
            self.message(findings);
        }
    }

    /// Takes the live line away, so that the report stands alone.
    pub fn finish(&self) {
        if let Display::Live(bar) = &self.display {
            bar.finish_and_clear();
        }
    }

    /// Writes a line without tearing the live one.
    pub fn say(&self, line: &str) {
        match &self.display {
            Display::Live(bar) => bar.suspend(|| say(line)),
            Display::Plain | Display::Silent => say(line),
        }
    }

    fn message(&mut self, findings: usize) {
        self.findings = findings;
        if let Display::Live(bar) = &self.display {
            bar.set_message(count(findings as u64, "finding"));
        }
    }
}

/// Standard error may be closed; a run does not end because nobody watches.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ").with_key("rate", |state: &indicatif::ProgressState, w: &mut dyn std::fmt::Write| {
        // A closed formatter loses a figure that is drawn again in a moment.
        let _ = write!(w, "{:.0} cases/s", state.per_sec());
    })
}
