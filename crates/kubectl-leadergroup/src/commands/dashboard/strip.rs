//! The timeline as a picture: a strip of who led when, with its legend and a table that says the same.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

use super::frame::heads;
use super::words::{began, exact, length, moment};
use crate::model::LeaderGroupStatus;
use crate::timeline::{Segment, segments};

/// How far back the strip shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    All,
    Hour,
    Day,
    Week,
}

impl Range {
    const EACH: [Self; 4] = [Self::Hour, Self::Day, Self::Week, Self::All];

    /// What the query of a page's address asks for.
    pub fn of(query: Option<&str>) -> Self {
        let asked = query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("range=")));
        Self::EACH.into_iter().find(|range| Some(range.as_str()) == asked).unwrap_or(Self::All)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::All => "All",
            Self::Hour => "Last hour",
            Self::Day => "Last day",
            Self::Week => "Last week",
        }
    }

    fn length(self) -> Option<SignedDuration> {
        match self {
            Self::All => None,
            Self::Hour => Some(SignedDuration::from_hours(1)),
            Self::Day => Some(SignedDuration::from_hours(24)),
            Self::Week => Some(SignedDuration::from_hours(24 * 7)),
        }
    }
}

/// So many colours the style sheet has for holders. Each holder has a number too.
const COLOURS: usize = 6;
/// A number needs that much of the strip's width, in percent.
const ROOM_FOR_A_NUMBER: f64 = 2.5;

/// The part of the history that is shown.
struct Shown {
    segments: Vec<Segment>,
    /// Each holder's number, by the order in which they first led.
    numbers: BTreeMap<String, usize>,
    from: Timestamp,
    now: Timestamp,
    /// How long the whole history is.
    whole: SignedDuration,
}

impl Shown {
    fn new(status: &LeaderGroupStatus, range: Range, now: Timestamp) -> Option<Self> {
        let mut segments = segments(status, now);
        let now = segments.last()?.to;
        let whole = now.duration_since(segments.first()?.from);
        let mut numbers = BTreeMap::new();
        for holder in segments.iter().filter_map(|segment| segment.holder.as_ref()) {
            let next = numbers.len() + 1;
            numbers.entry(holder.clone()).or_insert(next);
        }
        let from = range.length().and_then(|length| now.checked_sub(length).ok()).unwrap_or(segments[0].from);
        segments.retain(|segment| segment.to > from || segment.is_open);
        Some(Self { segments, numbers, from, now, whole })
    }

    fn span(&self) -> SignedDuration {
        self.now.duration_since(self.from)
    }

    /// Where a moment is on the strip, in percent.
    fn x(&self, time: Timestamp) -> f64 {
        let span = self.span().as_secs_f64();
        if span <= 0.0 {
            return if time < self.now { 0.0 } else { 100.0 };
        }
        (time.duration_since(self.from).as_secs_f64() / span * 100.0).clamp(0.0, 100.0)
    }

    fn number(&self, holder: &str) -> usize {
        self.numbers.get(holder).copied().unwrap_or_default()
    }

    fn colour(&self, holder: &str) -> String {
        format!("holder-{}", (self.number(holder).max(1) - 1) % COLOURS)
    }

    /// How long a holder led, or nobody, of what is shown.
    fn led(&self, holder: Option<&str>) -> SignedDuration {
        let mine = self.segments.iter().filter(|segment| segment.holder.as_deref() == holder);
        mine.map(|segment| segment.to.duration_since(segment.from.max(self.from))).sum()
    }
}

/// How long the strip looks the same: a pixel or so. Zero where there is none.
pub fn tick(status: &LeaderGroupStatus, range: Range, now: Timestamp) -> SignedDuration {
    let Some(shown) = Shown::new(status, range, now) else { return SignedDuration::ZERO };
    (shown.span() / 400).clamp(SignedDuration::from_secs(1), SignedDuration::from_mins(10))
}

/// The picture and what belongs to it.
pub fn strip(status: &LeaderGroupStatus, range: Range, now: Timestamp) -> Markup {
    let Some(shown) = Shown::new(status, range, now) else {
        return html! { p.quiet { "Nobody has led since this group was first observed." } };
    };
    html! {
        (ranges(&shown, range))
        (picture(&shown))
        (axis(&shown))
        p #caption.caption aria-hidden="true" data-hint="Point at a segment, or focus the strip and use ← and →." {
            "Point at a segment, or focus the strip and use ← and →."
        }
        (legend(&shown))
        (table(&shown))
    }
}

/// Ranges that are shorter than the history, or in use.
fn ranges(shown: &Shown, range: Range) -> Markup {
    let is_of_use = |it: &Range| *it == range || it.length().is_none_or(|length| length < shown.whole);
    html! {
        nav.ranges aria-label="How far back" {
            @for it in Range::EACH.into_iter().filter(is_of_use) {
                a href={ "?range=" (it.as_str()) } aria-current=[(it == range).then_some("true")] { (it.label()) }
            }
        }
    }
}

fn picture(shown: &Shown) -> Markup {
    html! {
        svg.strip width="100%" height="56" role="group" aria-label="Who led when, oldest first" {
            defs {
                pattern #hatch width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)" {
                    line.hatch x1="0" y1="0" x2="0" y2="6" {}
                }
            }
            @for (place, segment) in shown.segments.iter().enumerate() {
                (bar(shown, segment, place == 0))
            }
        }
    }
}

fn bar(shown: &Shown, segment: &Segment, is_first: bool) -> Markup {
    let (x, end) = (shown.x(segment.from), shown.x(segment.to));
    let width = end - x;
    let kind = if segment.holder.is_some() { "term" } else { "gap" };
    let text = sentence(segment);
    let class = segment.holder.as_ref().map_or_else(|| "gap".to_owned(), |holder| shown.colour(holder));
    html! {
        g.segment.(class) id={ (kind) "-" (segment.from.as_millisecond()) } role="img" aria-label=(text)
            tabindex=(if is_first { "0" } else { "-1" }) {
            title { (text) }
            @if segment.holder.is_some() {
                rect x={ (percent(x)) } y="6" width={ (percent(width)) } height="44" {}
            } @else {
                // Seen above and below the terms however short it was.
                line.mark x1={ (percent(x)) } x2={ (percent(x)) } y1="0" y2="56" {}
                rect x={ (percent(x)) } y="14" width={ (percent(width)) } height="28" {}
            }
            @if let Some(holder) = segment.holder.as_ref().filter(|_| width > ROOM_FOR_A_NUMBER) {
                text x={ (percent(x + width / 2.0)) } y="33" text-anchor="middle" aria-hidden="true" {
                    (shown.number(holder))
                }
            }
        }
    }
}

fn percent(value: f64) -> String {
    format!("{value:.3}%")
}

fn sentence(segment: &Segment) -> String {
    let who = segment.holder.as_deref().map_or("Nobody led".to_owned(), |holder| format!("{holder} led"));
    let when = if segment.is_open {
        format!("since {}, {} so far", exact(segment.from), length(segment.length()))
    } else {
        format!("from {} to {}, {}", exact(segment.from), exact(segment.to), length(segment.length()))
    };
    format!("{who} {when}{}", why(segment).map_or(String::new(), |why| format!(": {why}")))
}

fn why(segment: &Segment) -> Option<String> {
    let why = segment.reason.as_ref().map(began)?;
    Some(match segment.unobserved {
        0 => why.to_owned(),
        1 => format!("{why}; 1 transition before it was not observed"),
        more => format!("{why}; {more} transitions before it were not observed"),
    })
}

fn axis(shown: &Shown) -> Markup {
    let whole = |seconds: i64| if seconds < 120 { seconds } else { seconds - seconds % 60 };
    let ago = |quarters: i32| length(SignedDuration::from_secs(whole((shown.span() * quarters / 4).as_secs())));
    html! {
        div.axis aria-hidden="true" {
            @for quarters in (1..=4).rev() { span { (ago(quarters)) " ago" } }
            span { "now" }
        }
    }
}

fn legend(shown: &Shown) -> Markup {
    let mut holders: Vec<_> = shown.numbers.iter().map(|(holder, number)| (*number, holder.as_str())).collect();
    holders.retain(|(_, holder)| shown.segments.iter().any(|segment| segment.holder.as_deref() == Some(holder)));
    holders.sort_unstable();
    let leaderless = shown.led(None);
    html! {
        ul.legend {
            @for (number, holder) in holders {
                li {
                    span.chip.(shown.colour(holder)) aria-hidden="true" { (number) }
                    span.name { (holder) } " " span.quiet { (length(shown.led(Some(holder)))) }
                }
            }
            @if !leaderless.is_zero() {
                li {
                    span.chip.gap aria-hidden="true" {}
                    span.name { "Nobody" } " " span.quiet { (length(leaderless)) }
                }
            }
        }
    }
}

fn table(shown: &Shown) -> Markup {
    html! {
        details #timeline-table {
            summary { "The same as a table" }
            table.plain {
                (heads(&["From", "To", "For", "Who", "Why"]))
                tbody {
                    @for segment in shown.segments.iter().rev() {
                        tr {
                            td data-label="From" { (moment(segment.from)) }
                            td data-label="To" { @if segment.is_open { "now" } @else { (moment(segment.to)) } }
                            td data-label="For" { (length(segment.length())) }
                            td data-label="Who" { (segment.holder.as_deref().unwrap_or("nobody")) }
                            td data-label="Why" { (why(segment).unwrap_or_default()) }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// a led from 0 to 9000, b from 9010 on.
    fn status() -> LeaderGroupStatus {
        let history = json!([
            {"leader": "b", "from": "a", "reason": "Expired", "time": at(9010).to_string(), "leaderlessSeconds": 10.0},
            {"leader": "a", "reason": "First", "time": at(0).to_string()}
        ]);
        serde_json::from_value(json!({"leader": {"identity": "b"}, "history": history})).unwrap()
    }

    fn places(range: Range) -> Vec<String> {
        let shown = Shown::new(&status(), range, at(10_000)).unwrap();
        let place = |segment: &Segment| {
            let who = segment.holder.as_deref().unwrap_or("-");
            format!("{who} {:.1}-{:.1}", shown.x(segment.from), shown.x(segment.to))
        };
        shown.segments.iter().map(place).collect()
    }

    #[test]
    fn segments_are_as_long_as_their_share_of_what_is_shown() {
        assert_eq!(places(Range::All), ["a 0.0-90.0", "- 90.0-90.1", "b 90.1-100.0"]);
        // The last hour begins at 6400.
        assert_eq!(places(Range::Hour), ["a 0.0-72.2", "- 72.2-72.5", "b 72.5-100.0"]);
        // Before the history began nobody knows who led.
        assert_eq!(places(Range::Day), ["a 88.4-98.8", "- 98.8-98.9", "b 98.9-100.0"]);
    }

    #[test]
    fn the_legend_counts_only_what_is_shown() {
        let shown = Shown::new(&status(), Range::Hour, at(10_000)).unwrap();
        assert_eq!(shown.led(Some("a")), SignedDuration::from_secs(2_600));
        assert_eq!(shown.led(Some("b")), SignedDuration::from_secs(990));
        assert_eq!(shown.led(None), SignedDuration::from_secs(10));
    }

    #[test]
    fn a_holder_keeps_its_number_whatever_range_is_shown() {
        let late = Shown::new(&status(), Range::Hour, at(100_000)).unwrap();
        assert_eq!(late.segments.len(), 1);
        assert_eq!(late.number("b"), 2);
    }

    #[test]
    fn a_term_that_just_began_fills_the_strip() {
        let leader = json!({"identity": "a", "acquireTime": format!("{:.6}", at(50))});
        let status = serde_json::from_value(json!({"leader": leader})).unwrap();
        let shown = Shown::new(&status, Range::All, at(50)).unwrap();
        assert_eq!(shown.segments.len(), 1);
        assert!(strip(&status, Range::All, at(50)).into_string().contains("a led since"));
    }

    #[test]
    fn a_long_history_is_drawn_anew_rarely_and_a_short_one_often() {
        let every = |now| tick(&status(), Range::All, at(now)).as_secs();
        assert_eq!((every(9_100), every(40_000), every(100_000_000)), (22, 100, 600));
        assert_eq!(tick(&LeaderGroupStatus::default(), Range::All, at(0)), SignedDuration::ZERO);
    }

    #[test]
    fn the_range_comes_from_the_address() {
        assert_eq!(Range::of(Some("range=day")), Range::Day);
        assert_eq!(Range::of(Some("a=b&range=hour")), Range::Hour);
        assert_eq!(Range::of(Some("range=<script>")), Range::All);
        assert_eq!(Range::of(None), Range::All);
    }
}
