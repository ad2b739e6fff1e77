//! Samples and how they are shown.

use std::time::Duration;

use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;

/// A set of durations, in seconds.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds one.
    pub fn add(&mut self, sample: Duration) {
        self.0.push(sample.as_secs_f64());
        self.0.sort_by(f64::total_cmp);
    }

    /// Adds those of another set.
    pub fn extend(&mut self, others: &Self) {
        self.0.extend(&others.0);
        self.0.sort_by(f64::total_cmp);
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The smallest sample that so many percent do not exceed; NaN without samples.
    pub fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100).saturating_sub(1);
        self.0.get(rank).copied().unwrap_or(f64::NAN)
    }

    /// The mean; NaN without samples.
    #[allow(clippy::cast_precision_loss)]
    pub fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len() as f64
    }

    /// n, mean, minimum, median, p99, maximum, in the given unit per second (1 for seconds, 1000 for milliseconds).
    pub fn row(&self, name: &str, per_second: f64, goal: &str) -> Vec<String> {
        let show = |value: f64| format!("{:.1}", value * per_second);
        let figures = [self.mean(), self.percentile(0), self.percentile(50), self.percentile(99), self.percentile(100)];
        let mut row = vec![name.to_owned(), self.len().to_string()];
        row.extend(figures.map(show));
        row.push(goal.to_owned());
        row
    }
}

/// The head of a table of [`Samples::row`]s.
pub fn samples_table(what: &str) -> Table {
    table(&[what, "n", "mean", "min", "p50", "p99", "max", "goal"])
}

/// A table that can be pasted into a Markdown file.
pub fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(head.iter().copied());
    table
}
