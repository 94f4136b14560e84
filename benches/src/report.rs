//! The table, and the page for the documentation.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::Outcome;
use crate::sample::Samples;

/// What a measurement is held against.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    /// At most this many times the other side.
    Ratio(f64),
    /// At most this much more than the other side.
    Extra(Duration),
}

#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
    figures: Vec<(String, String)>,
    sections: Vec<String>,
}

struct Row {
    title: String,
    beside: String,
    ours: Duration,
    spread: (Duration, Duration),
    theirs: Duration,
    goal: Goal,
}

impl Row {
    fn ratio(&self) -> f64 {
        self.ours.as_secs_f64() / self.theirs.as_secs_f64()
    }

    fn extra(&self) -> Duration {
        self.ours.saturating_sub(self.theirs)
    }

    fn verdict(&self) -> String {
        match self.goal {
            Goal::Ratio(most) => format!("{} (goal {most} times)", if self.ratio() <= most { "met" } else { "missed" }),
            Goal::Extra(most) => {
                format!(
                    "{} (goal {} more)",
                    if self.extra() <= most { "met" } else { "missed" },
                    shown(most)
                )
            }
        }
    }
}

impl Report {
    pub(crate) fn ratio(&mut self, title: &str, beside: &str, ours: &Samples, theirs: &Samples, goal: Goal) {
        let row = Row {
            title: title.to_owned(),
            beside: beside.to_owned(),
            ours: ours.median(),
            spread: ours.spread(),
            theirs: theirs.median(),
            goal,
        };
        say(&format!(
            "{}: {} beside {} ({:.2} times)",
            row.title,
            shown(row.ours),
            shown(row.theirs),
            row.ratio()
        ));
        self.rows.push(row);
    }

    pub(crate) fn figure(&mut self, title: &str, figure: String) {
        say(&format!("{title}: {figure}"));
        self.figures.push((title.to_owned(), figure));
    }

    /// A part of the page that has its own heading.
    pub(crate) fn section(&mut self, text: String) {
        self.sections.push(text);
    }

    pub(crate) fn print(&self) {
        say(&format!("\n{}\n{}", self.tables(), self.sections.join("\n")));
    }

    fn tables(&self) -> String {
        let mut text =
            String::from("| what | keyfob (10th to 90th percentile) | beside it | ratio | more | |\n|---|---|---|---|---|---|\n");
        for row in &self.rows {
            let (low, high) = row.spread;
            let _ = writeln!(
                text,
                "| {} | {} ({} to {}) | {}: {} | {:.2} | {} | {} |",
                row.title,
                shown(row.ours),
                shown(low),
                shown(high),
                row.beside,
                shown(row.theirs),
                row.ratio(),
                shown(row.extra()),
                row.verdict()
            );
        }
        text.push_str("\n| what | figure |\n|---|---|\n");
        for (title, figure) in &self.figures {
            let _ = writeln!(text, "| {title} | {figure} |");
        }
        text
    }

    /// Writes the page and its plot, below the workspace's root.
    pub(crate) fn write(&self) -> Outcome {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src");
        let page = format!(
            "# Benchmarks\n\nMedians of one run in which both sides are timed in turn, so that ratios hold where single times \
             drift.\nMade by `cargo xtask bench --write`; don't edit.\n\n{}\n![Times beside each other](benchmarks.svg)\n\n\
             {}\n## Machine\n\n{}",
            self.tables(),
            self.sections.join("\n"),
            machine()
        );
        let notes = std::fs::read_to_string(docs.join("benchmarks-notes.inc")).unwrap_or_default();
        std::fs::write(docs.join("benchmarks.md"), format!("{page}\n{notes}"))?;
        std::fs::write(docs.join("benchmarks.svg"), self.plot())?;
        Ok(())
    }

    /// Each row's two times as bars, each pair to a scale of its own.
    fn plot(&self) -> String {
        const WIDTH: f64 = 360.0;
        let height = 30 + 46 * self.rows.len();
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 860 {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"860\" height=\"{height}\" fill=\"#fff\"/>\n\
             <text x=\"10\" y=\"18\" fill=\"#555\">dark: keyfob, light: beside it; each pair to its own scale</text>\n"
        );
        for (index, row) in self.rows.iter().enumerate() {
            let y = 34 + 46 * index;
            let longest = row.ours.max(row.theirs).as_secs_f64();
            for (offset, time, colour) in [(0, row.ours, "#1f4e79"), (18, row.theirs, "#9dc3e6")] {
                let width = WIDTH * time.as_secs_f64() / longest;
                let _ = writeln!(
                    svg,
                    "<rect x=\"400\" y=\"{}\" width=\"{width:.1}\" height=\"15\" fill=\"{colour}\"/>\
                     <text x=\"{:.1}\" y=\"{}\">{}</text>",
                    y + offset,
                    406.0 + width,
                    y + offset + 12,
                    shown(time)
                );
            }
            let title = row.title.replace('&', "&amp;").replace('<', "&lt;").replace('`', "");
            let _ = writeln!(svg, "<text x=\"390\" y=\"{}\" text-anchor=\"end\">{title}</text>", y + 20);
        }
        svg.push_str("</svg>\n");
        svg
    }
}

pub(crate) fn shown(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    match micros {
        _ if micros < 1000.0 => format!("{micros:.0} µs"),
        _ if micros < 100_000.0 => format!("{:.2} ms", micros / 1e3),
        _ => format!("{:.0} ms", micros / 1e3),
    }
}

/// What a reader needs to compare with another machine.
fn machine() -> String {
    let output = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or("unknown")
        .trim_start_matches([' ', '\t', ':']);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "- processor: {cpu}, {cores} cores\n- kernel: {}\n- compiler: {}\n- keyfob {}\n- SQLite {}\n",
        output("uname", &["-sr"]).unwrap_or_default(),
        output("rustc", &["--version"]).unwrap_or_default(),
        env!("CARGO_PKG_VERSION"),
        rusqlite::version()
    )
}

/// The one place that prints.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
