//! The lines of a packet script.

use super::arp::hardware;
use super::notation::{Notation, number};
use super::{ArpNotation, Manner};
use crate::testing::coverage::Event;
use crate::wire::Mac;

/// When a line happens, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// Since the start of the script.
    At(u64),
    /// Since the line before.
    After(u64),
}

/// One line.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its number in the file, from 1.
    pub number: usize,
    /// Its words.
    pub text: String,
    /// When it happens.
    pub time: Time,
    /// What happens.
    pub statement: Statement,
}

/// What a line says; see the table in the module's description.
#[derive(Clone, Debug)]
pub enum Statement {
    /// `set NAME VALUE`
    Set(String, u64),
    /// `isn N`
    Isn(u32),
    /// `established OPTIONS`
    Established(Notation),
    /// `connect`, and whether by the stack's routes
    Connect(u16, bool),
    /// `< arp`
    ArpArrives(ArpNotation),
    /// `> arp`
    ArpSends(ArpNotation),
    /// `conflict`
    Conflict,
    /// `mac M`
    Mac(Mac),
    /// `app MANNER`
    App(Manner),
    /// `<`, and whether it belongs to the burst of the line before (`&<`)
    Arrives(Notation, bool),
    /// `too-big MTU SEGMENT`
    TooBig(u16, Notation),
    /// `icmp TYPE CODE SEGMENT`
    Icmp([u8; 2], Notation),
    /// `>`
    Sends(Notation),
    /// `send N`, of the connection with the peer's port that is given
    Send(usize, Option<u16>),
    /// `share N`
    Share(usize, Option<u16>),
    /// `close`
    Close(Option<u16>),
    /// `abort`
    Abort(Option<u16>),
    /// `deadline N`
    Deadline(u64),
    /// `refused CALL`
    Refused(Event, Option<u16>),
    /// `stop`
    Stop,
    /// `close idle`
    CloseIdle,
    /// `close within MILLIS`
    CloseWithin(u32),
    /// `abort all`
    AbortAll,
    /// `frames N`
    Frames(usize),
    /// `quiet N`
    Quiet,
    /// `state NAME`
    State(String, Option<u16>),
    /// Any of the statements that compare a number
    Expect(Figure, u64),
    /// `ended HOW`
    Ended(String),
}

/// A number to compare.
#[derive(Clone, Debug)]
pub enum Figure {
    /// `cwnd`
    Cwnd,
    /// `ssthresh`
    Ssthresh,
    /// `maximum`
    Maximum,
    /// `count NAME`
    Count(String),
    /// `ownership NAME`
    Ownership(String),
    /// `opened`
    Opened,
    /// `received`
    Received,
    /// `resumed`
    Resumed,
    /// `strays`
    Strays,
}

/// Reads a script; the error names the line.
pub(super) fn parse(text: &str) -> Result<Vec<Line>, (usize, String)> {
    let mut lines = Vec::new();
    for (number, text) in (1..).zip(text.lines()) {
        let text = text.split('#').next().unwrap_or("").trim();
        if !text.is_empty() {
            lines.push(parse_line(number, text).map_err(|why| (number, why))?);
        }
    }
    Ok(lines)
}

fn parse_line(number: usize, text: &str) -> Result<Line, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (time, words) = match words[0]
        .strip_prefix('+')
        .map_or_else(|| words[0].parse().map(Time::At), |after| after.parse().map(Time::After))
    {
        Ok(time) => (time, &words[1..]),
        Err(_) => (Time::After(0), &words[..]),
    };
    let (time, statement) = match words {
        ["quiet", millis] => (Time::After(self::number(millis)?), Statement::Quiet),
        _ => (time, parse_statement(words)?),
    };
    Ok(Line { number, text: text.to_owned(), time, statement })
}

fn parse_statement(words: &[&str]) -> Result<Statement, String> {
    let figure = |figure, value| number(value).map(|value| Statement::Expect(figure, value));
    Ok(match words {
        ["<", "arp", packet @ ..] => Statement::ArpArrives(ArpNotation::parse(packet)?),
        [">", "arp", packet @ ..] => Statement::ArpSends(ArpNotation::parse(packet)?),
        ["<", segment @ ..] => Statement::Arrives(Notation::parse(segment)?, false),
        ["&<", segment @ ..] => Statement::Arrives(Notation::parse(segment)?, true),
        [">", segment @ ..] => Statement::Sends(Notation::parse(segment)?),
        ["too-big", mtu, segment @ ..] => {
            Statement::TooBig(number(mtu)?, Notation::parse(segment)?)
        }
        ["icmp", kind, code, segment @ ..] => {
            Statement::Icmp([number(kind)?, number(code)?], Notation::parse(segment)?)
        }
        ["established", options @ ..] => Statement::Established(Notation::parse(options)?),
        ["set", name, value] => Statement::Set((*name).to_owned(), number(value)?),
        ["isn", value] => Statement::Isn(number(value)?),
        ["connect"] => Statement::Connect(super::bench::PEER_PORT, false),
        ["connect", "port", port] => Statement::Connect(number(port)?, false),
        ["connect", "routed"] => Statement::Connect(super::bench::PEER_PORT, true),
        ["connect", "routed", "port", port] => Statement::Connect(number(port)?, true),
        ["mac", mac] => Statement::Mac(hardware(mac)?),
        ["conflict"] => Statement::Conflict,
        ["app", manner @ ..] => Statement::App(parse_manner(manner)?),
        ["send", len, port @ ..] => Statement::Send(number(len)?, parse_port(port)?),
        ["share", len, port @ ..] => Statement::Share(number(len)?, parse_port(port)?),
        ["close", "within", millis] => Statement::CloseWithin(number(millis)?),
        ["close", "idle"] => Statement::CloseIdle,
        ["close", port @ ..] => Statement::Close(parse_port(port)?),
        ["abort", "all"] => Statement::AbortAll,
        ["refused", call, port @ ..] => Statement::Refused(parse_call(call)?, parse_port(port)?),
        ["abort", port @ ..] => Statement::Abort(parse_port(port)?),
        ["deadline", millis] => Statement::Deadline(number(millis)?),
        ["stop"] => Statement::Stop,
        ["frames", "many"] => Statement::Frames(usize::MAX),
        ["frames", count] => Statement::Frames(number(count)?),
        ["state", name, port @ ..] => Statement::State((*name).to_owned(), parse_port(port)?),
        ["ended", how] => Statement::Ended((*how).to_owned()),
        ["cwnd", value] => figure(Figure::Cwnd, value)?,
        ["ssthresh", value] => figure(Figure::Ssthresh, value)?,
        ["maximum", value] => figure(Figure::Maximum, value)?,
        ["count", name, value] => figure(Figure::Count((*name).to_owned()), value)?,
        ["ownership", name, value] => figure(Figure::Ownership((*name).to_owned()), value)?,
        ["opened", value] => figure(Figure::Opened, value)?,
        ["received", value] => figure(Figure::Received, value)?,
        ["resumed", value] => figure(Figure::Resumed, value)?,
        ["strays", value] => figure(Figure::Strays, value)?,
        _ => return Err(format!("`{}` is no statement", words.join(" "))),
    })
}

fn parse_manner(words: &[&str]) -> Result<Manner, String> {
    Ok(match words {
        ["reads"] => Manner::Reads,
        ["leaves"] => Manner::Leaves,
        ["answers", len] => Manner::Answers(number(len)?),
        ["closes"] => Manner::Closes,
        ["aborts"] => Manner::Aborts,
        ["fills"] => Manner::Fills,
        ["sips", len, "every", millis] => Manner::Sips(number(len)?, number(millis)?),
        _ => return Err(format!("`{}` is nothing that an application does", words.join(" "))),
    })
}

fn parse_call(word: &str) -> Result<Event, String> {
    Ok(match word {
        "connect" => Event::Open,
        "send" => Event::Send,
        "close" => Event::Close,
        "abort" => Event::Abort,
        _ => return Err(format!("`{word}` is no call")),
    })
}

fn parse_port(words: &[&str]) -> Result<Option<u16>, String> {
    match words {
        [] => Ok(None),
        ["port", port] => number(port).map(Some),
        _ => Err(format!("`{}` is not a port", words.join(" "))),
    }
}
