//! The table, and the page for the documentation.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::Outcome;
use crate::sample::Samples;

/// What a measurement is held against.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    /// Nothing: it is shown.
    None,
    /// At most this many times the other side.
    Ratio(f64),
    /// At most this much more than the other side.
    Extra(Duration),
}

/// What was measured so far.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<Row>,
    figures: Vec<(String, String)>,
    sections: Vec<String>,
}

/// Times in seconds.
#[derive(Debug)]
struct Row {
    title: String,
    beside: String,
    ours: f64,
    spread: (f64, f64),
    theirs: f64,
    goal: Goal,
}

impl Row {
    fn ratio(&self) -> f64 {
        self.ours / self.theirs
    }

    fn extra(&self) -> f64 {
        (self.ours - self.theirs).max(0.0)
    }

    fn verdict(&self) -> String {
        match self.goal {
            Goal::None => String::new(),
            Goal::Ratio(most) => verdict(self.ratio() <= most, &format!("{most} times")),
            Goal::Extra(most) => verdict(self.extra() <= most.as_secs_f64(), &format!("{} more", shown(most))),
        }
    }
}

/// `met` or `missed`, with what it had to be.
#[must_use]
pub fn verdict(is_met: bool, goal: &str) -> String {
    format!("{} (goal {goal})", if is_met { "met" } else { "missed" })
}

impl Report {
    /// Adds two times that are held against each other.
    pub fn ratio(&mut self, title: &str, beside: &str, ours: &Samples, theirs: &Samples, goal: Goal) {
        let row = Row {
            title: title.to_owned(),
            beside: beside.to_owned(),
            ours: ours.seconds(),
            spread: ours.spread(),
            theirs: theirs.seconds(),
            goal,
        };
        say(&format!(
            "{}: {} beside {} ({:.2} times)",
            row.title,
            shown_seconds(row.ours),
            shown_seconds(row.theirs),
            row.ratio()
        ));
        self.rows.push(row);
    }

    /// Adds a figure that stands for itself.
    pub fn figure(&mut self, title: &str, figure: String) {
        say(&format!("{title}: {figure}"));
        self.figures.push((title.to_owned(), figure));
    }

    /// A part of the page that has its own heading.
    pub fn section(&mut self, text: String) {
        self.sections.push(text);
    }

    /// Says everything at the end of a run.
    pub fn print(&self) {
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
                shown_seconds(row.ours),
                shown_seconds(low),
                shown_seconds(high),
                row.beside,
                shown_seconds(row.theirs),
                row.ratio(),
                shown_seconds(row.extra()),
                row.verdict()
            );
        }
        text.push_str("\n| what | figure |\n|---|---|\n");
        for (title, figure) in &self.figures {
            let _ = writeln!(text, "| {title} | {figure} |");
        }
        text
    }

    /// Writes `docs/src/PAGE.md` and its plot `PAGE.svg`, below the workspace's root. What `PAGE-notes.inc` there says
    /// comes last. `command` made it, and `versions` are lines about what was measured.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write(&self, page: &str, title: &str, command: &str, versions: &str) -> Outcome {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src");
        let text = format!(
            "# {title}\n\nMedians of one run in which both sides are timed in turn, so that ratios hold where single times \
             drift.\nMade by `{command}`; don't edit.\n\n{}\n![Times beside each other]({page}.svg)\n\n\
             {}\n## Machine\n\n{}{versions}",
            self.tables(),
            self.sections.join("\n"),
            machine()
        );
        let notes = std::fs::read_to_string(docs.join(format!("{page}-notes.inc"))).unwrap_or_default();
        std::fs::write(docs.join(format!("{page}.md")), format!("{text}\n{notes}"))?;
        std::fs::write(docs.join(format!("{page}.svg")), self.plot())?;
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
            let longest = row.ours.max(row.theirs);
            for (offset, time, colour) in [(0, row.ours, "#1f4e79"), (18, row.theirs, "#9dc3e6")] {
                let width = WIDTH * time / longest;
                let _ = writeln!(
                    svg,
                    "<rect x=\"400\" y=\"{}\" width=\"{width:.1}\" height=\"15\" fill=\"{colour}\"/>\
                     <text x=\"{:.1}\" y=\"{}\">{}</text>",
                    y + offset,
                    406.0 + width,
                    y + offset + 12,
                    shown_seconds(time)
                );
            }
            let title = row.title.replace('&', "&amp;").replace('<', "&lt;").replace('`', "");
            let _ = writeln!(svg, "<text x=\"390\" y=\"{}\" text-anchor=\"end\">{title}</text>", y + 20);
        }
        svg.push_str("</svg>\n");
        svg
    }
}

/// A time with its unit.
#[must_use]
pub fn shown(time: Duration) -> String {
    shown_seconds(time.as_secs_f64())
}

/// The same for seconds.
#[must_use]
pub fn shown_seconds(seconds: f64) -> String {
    let micros = seconds * 1e6;
    match micros {
        _ if micros < 1.0 => format!("{:.0} ns", seconds * 1e9),
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
        "- processor: {cpu}, {cores} cores\n- kernel: {}\n- compiler: {}\n- keyfob {}\n",
        output("uname", &["-sr"]).unwrap_or_default(),
        output("rustc", &["--version"]).unwrap_or_default(),
        env!("CARGO_PKG_VERSION"),
    )
}

/// The one place that prints.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_slower_than_its_goal_is_told_as_missed() {
        let samples = |seconds: f64| Samples::from(vec![seconds]);
        let mut report = Report::default();
        for goal in [
            Goal::Ratio(2.0),
            Goal::Ratio(1.5),
            Goal::Extra(Duration::from_nanos(49)),
            Goal::None,
        ] {
            report.ratio("a", "b", &samples(100e-9), &samples(50e-9), goal);
        }
        let verdicts: Vec<String> = report.rows.iter().map(Row::verdict).collect();
        assert_eq!(
            verdicts,
            [
                "met (goal 2 times)",
                "missed (goal 1.5 times)",
                "missed (goal 49 ns more)",
                ""
            ]
        );
    }

    #[test]
    fn times_have_the_unit_that_fits() {
        let shown: Vec<String> = [52.4e-9, 110e-6, 1.5e-3, 0.25].map(shown_seconds).into();
        assert_eq!(shown, ["52 ns", "110 µs", "1.50 ms", "250 ms"]);
    }
}
