//! What is measured on the way. Nothing is asserted of it.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

static FIGURES: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

/// Keeps a figure for the table.
pub fn add(what: impl Into<String>, figure: impl Into<String>) {
    let mut figures = FIGURES.lock().unwrap_or_else(PoisonError::into_inner);
    figures.push((what.into(), figure.into()));
}

/// The table.
#[expect(clippy::print_stdout, reason = "people read it there")]
pub fn print() {
    let figures = FIGURES.lock().unwrap_or_else(PoisonError::into_inner);
    if figures.is_empty() {
        return;
    }
    let machine = e2e::measure::machine().unwrap_or_default();
    println!("| measured on {machine} | |\n| --- | --- |");
    for (what, figure) in figures.iter() {
        println!("| {what} | {figure} |");
    }
}

/// Seconds, or milliseconds where it is less than one.
pub fn time(took: Duration) -> String {
    if took < Duration::from_secs(1) {
        format!("{:.1} ms", took.as_secs_f64() * 1e3)
    } else {
        format!("{:.1} s", took.as_secs_f64())
    }
}

/// Median and worst.
pub fn times(mut took: Vec<Duration>) -> String {
    took.sort();
    let [median, worst] = [took.len() / 2, took.len() - 1].map(|at| time(took[at]));
    format!("median {median}, worst {worst} of {}", took.len())
}

/// Bytes in MiB.
#[expect(clippy::cast_precision_loss, reason = "for people")]
pub fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
