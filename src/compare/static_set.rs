//! The files of the static set: what a page loads, from 3 to 300 KB, each with its forms in gzip
//! and brotli beside it.

use super::temp_dir::TempDir;
use crate::app::content::compressed_forms;
use crate::error::{Error, Result};

/// The number of files.
pub(super) const FILES: u32 = 20;
/// The length of the shortest and of the longest file.
const MIN_BYTES: f64 = 3000.0;
const MAX_BYTES: f64 = 300_000.0;
/// Words of the text: it compresses to about a quarter, as scripts and styles do.
const WORDS: u32 = 3000;

/// The path of a file.
pub(super) fn path(file: u32) -> String {
    format!("/{file}.js")
}

/// The length of a file: each is longer than the one before by the same factor.
fn bytes(file: u32) -> usize {
    let step = f64::from(file) / f64::from(FILES - 1);
    (MIN_BYTES * (MAX_BYTES / MIN_BYTES).powf(step)).round() as usize
}

/// Text of a file, the same in each run.
fn text(file: u32) -> Vec<u8> {
    let mut state = file + 1;
    let mut text = Vec::new();
    while text.len() < bytes(file) {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let word = (state >> 8) % WORDS;
        text.extend_from_slice(format!("{:x} ", word.wrapping_mul(2_654_435_761)).as_bytes());
    }
    text.truncate(bytes(file));
    text
}

/// Writes the files below `www`.
pub(super) fn write(to: &TempDir) -> Result<()> {
    for file in 0..FILES {
        let (name, text) = (format!("www{}", path(file)), text(file));
        let [brotli, gzip] = compressed_forms(&text)
            .map_err(|error| Error::because("compressing the static set", error))?;
        to.write(&name, &text)?;
        to.write(&format!("{name}.br"), &brotli)?;
        to.write(&format!("{name}.gz"), &gzip)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_of_3_to_300_kb_and_compress_like_scripts() {
        assert_eq!((bytes(0), bytes(FILES - 1)), (3000, 300_000));
        let longest = text(FILES - 1);
        let [brotli, gzip] = compressed_forms(&longest).unwrap();
        for (name, form) in [("br", brotli), ("gz", gzip)] {
            let part = longest.len() / form.len();
            assert!((2..6).contains(&part), "{name}: 1/{part}");
        }
    }
}
