//! The guide: a page for each topic, here and as `simoom guide TOPIC`.
//!
//! In: the name of a topic. Out: its page, as Markdown, on standard output. The pages are files
//! beside this one. They link to each other as `[topic]`: the definitions at the end of a page lead
//! to the files, those that rustdoc gets in front lead to the modules here.

use crate::error::{Error, Result};
use crate::print::print_text;

/// A page of the guide.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// The name that `simoom guide` and links of other pages use.
    pub topic: &'static str,
    /// What the page is about, in one line.
    pub summary: &'static str,
    /// The page, as Markdown.
    pub text: &'static str,
}

macro_rules! pages {
    ($($module:ident $topic:literal $summary:literal,)*) => {
        $(
            #[doc = "[nic]: crate::guide::nic\n[http]: crate::guide::http"]
            #[doc = "[handlers]: crate::guide::handlers\n[memcached]: crate::guide::memcached"]
            #[doc = "[load-and-compare]: crate::guide::load_and_compare"]
            #[doc = "[limits]: crate::guide::limits\n[operation]: crate::guide::operation"]
            #[doc = "[metrics]: crate::guide::metrics\n[results]: crate::guide::results"]
            #[doc = "[architecture]: crate::guide::architecture\n[rfcs]: crate::guide::rfcs\n"]
            #[doc = include_str!(concat!($topic, ".md"))]
            pub mod $module {}
        )*

        /// All pages, in the order in which they are best read.
        pub const PAGES: &[Page] =
            &[$(Page { topic: $topic, summary: $summary, text: include_str!(concat!($topic, ".md")) },)*];
    };
}

pages! {
    nic "nic" "serve from the queues of a network interface: set-up, capabilities, addresses",
    http "http" "serve files over HTTP: names, methods, bounds",
    handlers "handlers" "serve a protocol of your own: write a handler in ten minutes",
    memcached "memcached" "serve memcached: proxies, UDP, differences from memcached",
    operation "operation" "signals, drain, configuration file, systemd, log, health checks",
    limits "limits" "memory, tables, timeouts: what happens when something is full",
    metrics "metrics" "every metric and its meaning",
    load_and_compare "load-and-compare" "measure a server with load; measure Simoom beside others",
    results "results" "recorded measurements, on both sides",
    architecture "architecture" "layers, the path of a packet through the code, glossary",
    rfcs "rfcs" "which RFCs the TCP stack follows",
}

/// Prints the page of `topic`, or without a topic the list of all.
pub fn run(topic: Option<&str>) -> Result<()> {
    let text = match topic {
        None => list(),
        Some(topic) => page(topic)?,
    };
    print_text(&text)
}

/// A line for each topic.
fn list() -> String {
    let lines = PAGES.iter().map(|page| format!("  {:18}{}\n", page.topic, page.summary));
    format!("Topics of simoom guide:\n{}", lines.collect::<String>())
}

/// The page of a topic, without the definitions of its links and without comments.
fn page(topic: &str) -> Result<String> {
    let Some(page) = PAGES.iter().find(|page| page.topic == topic) else {
        let topics: Vec<&str> = PAGES.iter().map(|page| page.topic).collect();
        return Err(Error::usage(format!(
            "guide {topic}: unknown topic; expected one of {}",
            topics.join(", ")
        )));
    };
    let is_definition = |line: &str| line.starts_with('[') && line.contains("]: ");
    let is_comment = |line: &str| line.starts_with("<!--");
    let lines = page.text.lines().filter(|line| !is_definition(line) && !is_comment(line));
    let text = lines.map(|line| format!("{line}\n")).collect::<String>();
    Ok(text.trim_end().to_owned() + "\n")
}

#[cfg(test)]
#[path = "guide_tests.rs"]
mod tests;
