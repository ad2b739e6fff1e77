//! `timeline`: a chart of who led when.

use std::process::ExitCode;
use std::time::Duration;

use anstyle::Style;
use anyhow::Result;
use clap::Args;
use jiff::{Timestamp, Zoned};
use leadergroup_api::TransitionReason;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::group;
use crate::model::Told;
use crate::named::Named;
use crate::output::{BAD, BOLD, DIM, GOOD, Screen, WARN, clean, paint, print, span, tell};
use crate::session::Session;
use crate::timeline::{Segment, segments};

const WIDTH: &str = "\
The chart is as wide as the terminal, or 80 columns where there is none. It goes as far back as the group's history, which
keeps spec.historyLimit transitions.";

/// How far marks of a chart lie apart at most.
const MOST_YEARS: usize = 10_000;

/// A chart narrower than this shows nothing.
const NARROWEST: usize = 20;

#[derive(Args, Debug)]
#[command(after_help = WIDTH)]
pub struct Arguments {
    #[command(flatten)]
    group: Named,
    /// How far back to go at most, as in 30m or 12h
    #[arg(long, value_name = "TIME", value_parser = crate::span::span)]
    since: Option<Duration>,
    /// Draw with ASCII only [default: where the locale is not UTF-8]
    #[arg(long)]
    ascii: bool,
}

pub async fn run(session: &Session, arguments: &Arguments) -> Result<ExitCode> {
    let name = &arguments.group.name;
    let group = group::get(session, name).await?;
    let now = Zoned::now();
    let segments = group.status.as_ref().map(|status| segments(status, now.timestamp())).unwrap_or_default();
    let is_new = segments.is_empty();
    let mut screen = Screen::of_stdout();
    screen.unicode &= !arguments.ascii;
    match Chart::new(segments, arguments.since, &now, screen) {
        Some(chart) => print(&chart.draw(&format!("{}/{name}", session.namespace)))?,
        None if is_new => tell(format_args!("{name} has not been led yet")),
        None => tell(format_args!("nothing is known of who led {name} in that time")),
    }
    Ok(ExitCode::SUCCESS)
}

/// What the columns stand for.
struct Chart<'a> {
    /// Oldest first, those that fall into the time shown.
    segments: Vec<Segment>,
    from: Timestamp,
    now: &'a Zoned,
    /// Of a column.
    seconds: f64,
    columns: usize,
    labels: usize,
    glyphs: Glyphs,
}

struct Glyphs {
    leads: char,
    not: char,
    nobody: char,
    unseen: char,
    tick: char,
    cut: char,
}

const UNICODE: Glyphs = Glyphs { leads: '█', not: '·', nobody: '×', unseen: '?', tick: '╵', cut: '…' };
const ASCII: Glyphs = Glyphs { leads: '#', not: '.', nobody: 'x', unseen: '?', tick: '\'', cut: '~' };

/// Whether there was more before it than was seen.
fn is_unseen(segment: &Segment) -> bool {
    segment.unobserved > 0 || segment.reason == Some(Told::Known(TransitionReason::Unobserved))
}

impl<'a> Chart<'a> {
    fn new(segments: Vec<Segment>, since: Option<Duration>, now: &'a Zoned, screen: Screen) -> Option<Self> {
        let earliest = since.and_then(|since| now.timestamp().checked_sub(since).ok()).unwrap_or(Timestamp::MIN);
        let mut segments = segments;
        for segment in segments.iter_mut().filter(|segment| segment.from < earliest) {
            // How it began is not in the chart.
            *segment = Segment { from: earliest, reason: None, unobserved: 0, ..segment.clone() };
        }
        segments.retain(|segment| segment.to > earliest && (segment.holder.is_some() || segment.from < segment.to));
        let from = segments.first()?.from;
        let widest = segments.iter().filter_map(|segment| Some(segment.holder.as_ref()?.width())).max();
        let least = "nobody".len();
        let labels = widest.unwrap_or_default().clamp(least, (screen.width / 3).max(least));
        let columns = screen.width.saturating_sub(labels + 2).max(NARROWEST);
        #[allow(clippy::cast_precision_loss)] // A width of a terminal.
        let seconds = now.timestamp().duration_since(from).as_secs_f64().max(1.0) / columns as f64;
        Some(Self {
            segments,
            from,
            now,
            seconds,
            columns,
            labels,
            glyphs: if screen.unicode { UNICODE } else { ASCII },
        })
    }

    fn draw(&self, title: &str) -> String {
        let whole = span(self.now.timestamp().duration_since(self.from).as_secs_f64().round());
        let from = self.from.to_zoned(self.now.time_zone().clone());
        let begins = from.strftime("%F %T %Z");
        let title = paint(BOLD, clean(title));
        let mut text = format!("{title} in the last {whole}, since {begins}; a column is {}\n\n", span(self.seconds));
        let leads = self.segments.last().filter(|last| last.is_open).and_then(|last| last.holder.clone());
        for leader in self.leaders() {
            let marks = self.marks(|segment| segment.holder.as_ref() == Some(&leader));
            let (label, bar) =
                if leads.as_ref() == Some(&leader) { (BOLD, GOOD) } else { (Style::new(), Style::new()) };
            text += &self.row(&leader, label, &marks, self.glyphs.leads, bar);
        }
        let nobody = self.marks(|segment| segment.holder.is_none());
        if nobody.contains(&true) {
            text += &self.row("nobody", BAD, &nobody, self.glyphs.nobody, BAD);
        }
        let mut unseen = vec![false; self.columns];
        for segment in self.segments.iter().filter(|segment| is_unseen(segment)) {
            unseen[self.column(self.at(segment.from))] = true;
        }
        if unseen.contains(&true) {
            text += &self.row("unseen", WARN, &unseen, self.glyphs.unseen, WARN);
        }
        text + &self.axis() + "\n" + &self.legend(nobody.contains(&true), unseen.contains(&true)) + &self.sums()
    }

    /// Who led, in order of appearance.
    fn leaders(&self) -> Vec<String> {
        let mut leaders: Vec<String> = Vec::new();
        for leader in self.segments.iter().filter_map(|segment| segment.holder.as_ref()) {
            if !leaders.contains(leader) {
                leaders.push(leader.clone());
            }
        }
        leaders
    }

    /// The columns in which one of these segments lies, at least in part.
    fn marks(&self, of: impl Fn(&Segment) -> bool) -> Vec<bool> {
        let mut marks = vec![false; self.columns];
        for segment in self.segments.iter().filter(|segment| of(segment)) {
            let first = self.column(self.at(segment.from));
            // What ends where a column begins has no part in it.
            let last = self.column(self.at(segment.to).ceil() - 1.0);
            marks[first..=last.max(first)].fill(true);
        }
        marks
    }

    /// Where in the chart a moment is, in columns from its left.
    fn at(&self, time: Timestamp) -> f64 {
        time.duration_since(self.from).as_secs_f64() / self.seconds
    }

    /// The column of such a place, or the one at the chart's edge.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Neither negative nor large.
    fn column(&self, at: f64) -> usize {
        (at.max(0.0) as usize).min(self.columns - 1)
    }

    fn row(&self, label: &str, style: Style, marks: &[bool], glyph: char, marked: Style) -> String {
        let label = self.label(label);
        let pad = " ".repeat(self.labels.saturating_sub(label.width()) + 2);
        let mut row = paint(style, label) + &pad;
        for run in marks.chunk_by(|a, b| a == b) {
            let (glyph, style) = if run[0] { (glyph, marked) } else { (self.glyphs.not, DIM) };
            row += &paint(style, String::from(glyph).repeat(run.len()));
        }
        row + "\n"
    }

    /// A name that fits: what is cut is the middle, for what tells pods apart stands at the end.
    fn label(&self, name: &str) -> String {
        let name = clean(name);
        if name.width() <= self.labels {
            return name;
        }
        let (mut front, mut room) = (String::new(), (self.labels - 1) / 3);
        for c in name.chars() {
            let Some(left) = room.checked_sub(c.width().unwrap_or_default()) else { break };
            room = left;
            front.push(c);
        }
        let (mut back, mut room) = (Vec::new(), self.labels - 1 - front.width());
        for c in name.chars().rev() {
            let Some(left) = room.checked_sub(c.width().unwrap_or_default()) else { break };
            room = left;
            back.push(c);
        }
        front + &String::from(self.glyphs.cut) + &back.iter().rev().collect::<String>()
    }

    /// The times at which round ones fall into the chart.
    fn axis(&self) -> String {
        const MINUTE: i64 = 60;
        const HOUR: i64 = 60 * MINUTE;
        const DAY: i64 = 24 * HOUR;
        const YEAR: i64 = 364 * DAY;
        let steps = [
            1,
            2,
            5,
            10,
            15,
            30,
            MINUTE,
            2 * MINUTE,
            5 * MINUTE,
            10 * MINUTE,
            15 * MINUTE,
            30 * MINUTE,
            HOUR,
            2 * HOUR,
            3 * HOUR,
            6 * HOUR,
            12 * HOUR,
            DAY,
            2 * DAY,
            7 * DAY,
            14 * DAY,
            28 * DAY,
            91 * DAY,
            YEAR,
        ];
        let format = |step: i64| match step {
            ..MINUTE => "%T",
            MINUTE..DAY => "%H:%M",
            DAY..YEAR => "%b %d",
            YEAR.. => "%b %Y",
        };
        // A label and some room behind it.
        #[allow(clippy::cast_precision_loss)] // Far below what a float holds.
        let fits = |step: &i64| *step as f64 / self.seconds >= 14.0;
        let longest = steps[steps.len() - 1];
        let years = (1..).map(|years| years * longest);
        let Some(step) = steps.into_iter().chain(years.take(MOST_YEARS)).find(fits) else { return "\n".to_owned() };
        let zone = self.now.time_zone();
        let offset = i64::from(zone.to_offset(self.from).seconds());
        let first = (self.from.as_second() + offset).div_euclid(step) * step + step - offset;
        let (mut ticks, mut labels) = (String::new(), String::new());
        let last = self.now.timestamp().as_second();
        for at in (first..=last).step_by(usize::try_from(step).unwrap_or(1)) {
            let Ok(time) = Timestamp::from_second(at) else { break };
            let column = self.column(self.at(time));
            let label = time.to_zoned(zone.clone()).strftime(format(step)).to_string();
            if column + label.len() > self.columns {
                break;
            }
            ticks += &" ".repeat(column - ticks.chars().count());
            ticks.push(self.glyphs.tick);
            labels += &" ".repeat(column - labels.len());
            labels += &label;
        }
        let pad = " ".repeat(self.labels + 2);
        format!("{pad}{}\n{pad}{}\n", paint(DIM, ticks), paint(DIM, labels))
    }

    fn legend(&self, nobody: bool, unseen: bool) -> String {
        let nobody = nobody.then(|| paint(BAD, format!("{} nobody leads", self.glyphs.nobody)));
        let unseen = unseen.then(|| paint(WARN, format!("{} changes that nobody saw", self.glyphs.unseen)));
        let leads = format!("{} leads", self.glyphs.leads);
        [Some(leads), nobody, unseen].into_iter().flatten().collect::<Vec<_>>().join("   ") + "\n"
    }

    fn sums(&self) -> String {
        let gaps = self.segments.iter().filter(|segment| segment.holder.is_none());
        let gaps: Vec<_> = gaps.map(|gap| gap.length().as_secs_f64()).collect();
        let longest = gaps.iter().copied().fold(0.0, f64::max);
        let whole: f64 = gaps.iter().sum();
        let terms = self.segments.len() - gaps.len();
        let plural = if terms == 1 { "" } else { "s" };
        let leaderless = match gaps.len() {
            0 => "no time without a leader that was seen".to_owned(),
            1 => format!("{} without a leader", span(whole)),
            _ => format!("{} without a leader, {} at the longest", span(whole), span(longest)),
        };
        format!("{terms} term{plural}; {leaderless}\n")
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::model::LeaderGroup;
    use crate::testdata::{self, now, plain};

    fn screen(width: usize, unicode: bool) -> Screen {
        Screen { is_terminal: true, width, height: 24, unicode }
    }

    fn segments_of(group: &LeaderGroup) -> Vec<Segment> {
        segments(group.status.as_ref().unwrap(), now().timestamp())
    }

    fn drawn(group: &LeaderGroup, since: Option<Duration>, screen: Screen) -> String {
        plain(&Chart::new(segments_of(group), since, &now(), screen).unwrap().draw("shop/billing"))
    }

    #[test]
    fn a_chart_of_eighty_columns() {
        insta::assert_snapshot!(drawn(&testdata::led(), None, screen(80, true)));
    }

    #[test]
    fn a_chart_in_ascii() {
        insta::assert_snapshot!(drawn(&testdata::led(), None, screen(80, false)));
    }

    #[test]
    fn a_chart_of_a_group_that_nobody_leads_any_more() {
        insta::assert_snapshot!(drawn(&testdata::leaderless(), None, screen(100, true)));
    }

    #[test]
    fn long_and_wide_names_leave_room_for_the_chart() {
        insta::assert_snapshot!(drawn(&testdata::long(), None, screen(60, true)));
    }

    #[test]
    fn the_last_minutes_alone() {
        let chart = drawn(&testdata::led(), Some(Duration::from_mins(5)), screen(80, true));
        assert!(chart.starts_with("shop/billing in the last 5m, "), "{chart}");
        assert!(!chart.contains("kxct4"), "it led before that: {chart}");
        assert!(!chart.contains("nobody"), "that was before: {chart}");
    }

    #[test]
    fn every_row_is_as_wide_as_the_screen_and_every_moment_is_somebodys() {
        for group in [testdata::led(), testdata::leaderless(), testdata::long()] {
            for width in [40, 79, 80, 133, 400] {
                let now = now();
                let chart = Chart::new(segments_of(&group), None, &now, screen(width, true)).unwrap();
                let drawn = plain(&chart.draw("shop/billing"));
                let rows: Vec<_> = drawn.lines().skip(2).take_while(|line| !line.starts_with(' ')).collect();
                let marks: Vec<Vec<char>> = rows
                    .iter()
                    .map(|row| {
                        assert_eq!(row.width(), width, "{drawn}");
                        let mut marks: Vec<_> = row.chars().rev().take(chart.columns).collect();
                        marks.reverse();
                        marks
                    })
                    .collect();
                for column in 0..chart.columns {
                    assert!(marks.iter().any(|row| row[column] != '·'), "nothing in column {column}: {drawn}");
                }
                let now_leads = chart.segments.last().and_then(|last| last.holder.clone());
                let label = chart.label(&now_leads.unwrap_or_else(|| "nobody".to_owned()));
                let row = rows.iter().position(|row| row.starts_with(&label)).unwrap();
                assert_ne!(marks[row][chart.columns - 1], '·', "{drawn}");
            }
        }
    }

    #[test]
    fn a_term_of_many_years_has_a_chart_too() {
        for years in [1, 3, 9, 30, 200, 1900] {
            let mut segments = segments_of(&testdata::led());
            let from = now().timestamp() - jiff::SignedDuration::from_hours(years * 365 * 24);
            segments[0].from = from;
            for width in [20, 60, 80, 400] {
                let chart =
                    Chart::new(segments.clone(), None, &now(), screen(width, true)).unwrap().draw("shop/billing");
                assert!(chart.contains("█ leads"), "{years} years, {width} columns: {chart}");
            }
        }
    }

    #[test]
    fn who_was_never_led_has_no_chart() {
        assert!(Chart::new(segments_of(&testdata::never_led()), None, &now(), screen(80, true)).is_none());
    }
}
