//! A file with its pre-rendered responses. Only the date and the connection fields are missing.

use super::build::with_allow;
use super::coding::{CODINGS, Coding};
use super::data::Data;
use super::media_type;
use super::on_disk::OnDisk;
use crate::app::Checksummed;
use crate::app::http::Validators;
use crate::app::http::date::imf_fixdate;
use crate::app::http::response::{Rendered, Shared, Status};
use std::fmt::Write;
use std::sync::Arc;

/// The index of no file.
const NONE: u32 = u32::MAX;

/// A file, ready to send. Its content lies in memory or on disk.
#[derive(Clone, Debug)]
pub(crate) struct File {
    ok: Rendered,
    not_modified: Rendered,
    etag: Box<[u8]>,
    modified: Option<u64>,
    /// The files with its content in a coding; [`NONE`] where there is none.
    coded: [u32; CODINGS],
    /// The index of the answer to OPTIONS; [`NONE`] for the common one.
    options: u32,
    /// The content, which an error page may share.
    content: Arc<Checksummed>,
    /// The file that the content is read from; `None` if it is in memory.
    on_disk: Option<Arc<OnDisk>>,
    content_type: Box<str>,
    /// Offset of the Content-Length field in `ok`.
    length_at: usize,
}

/// The description of a file's content.
pub(super) struct Description<'a> {
    pub(super) media_type: &'a str,
    /// The last modification, in unix seconds.
    pub(super) modified: Option<u64>,
    /// The coding of the content.
    pub(super) coding: Option<Coding>,
    /// Whether the response depends on Accept-Encoding.
    pub(super) varies: bool,
    /// Further fields: whole lines, each with a CR LF.
    pub(super) fields: &'a str,
    /// The content without its coding, whose charset the response names.
    pub(super) text: &'a Data,
}

impl File {
    /// Renders the responses for `data`.
    ///
    /// Content-Type is the first field and Content-Length the last. So a response with a part of
    /// the file can send the fields between them, or all before Content-Length.
    pub(super) fn new(data: &Data, description: &Description<'_>) -> File {
        let Description { media_type, modified, coding, varies, fields, text } = *description;
        let etag = data.etag();
        // The charset of a file on disk is left to the document.
        let content_type = match text.file() {
            Some(_) => media_type.to_owned(),
            None => media_type::content_type(media_type, text.bytes()),
        };
        let vary = if varies { "Vary: Accept-Encoding\r\n" } else { "" };
        let mut ok = String::new();
        // Writing to a string cannot fail.
        let _ = write!(ok, "Content-Type: {content_type}\r\n");
        let _ = write!(ok, "ETag: {etag}\r\n");
        if let Some(modified) = modified {
            let date = imf_fixdate(modified);
            let _ = write!(ok, "Last-Modified: {}\r\n", String::from_utf8_lossy(&date));
        }
        if let Some(coding) = coding {
            let _ = write!(ok, "Content-Encoding: {}\r\n", coding.name());
        }
        let _ = write!(ok, "{vary}{fields}Accept-Ranges: bytes\r\n");
        let length_at = ok.len();
        let _ = write!(ok, "Content-Length: {}\r\n", data.len());
        File {
            ok: Rendered::sharing(&ok, data.checksummed()),
            // RFC 9110 §15.4.5: send Date, the validator, Vary and the caching fields, and no other
            // description of the content.
            not_modified: Rendered::new(&format!("ETag: {etag}\r\n{vary}{fields}"), b""),
            etag: etag.into_bytes().into(),
            modified,
            coded: [NONE; CODINGS],
            options: NONE,
            content: data.checksummed().clone(),
            on_disk: data.file().cloned(),
            content_type: content_type.into(),
            length_at,
        }
    }

    /// The fields, as whole lines, without Content-Length. Content-Type is the first.
    pub(crate) fn fields(&self) -> Shared<'_> {
        self.ok.fields(self.length_at)
    }

    /// The file that the content is read from; `None` if it is in memory.
    #[inline]
    pub(crate) fn on_disk(&self) -> Option<&Arc<OnDisk>> {
        self.on_disk.as_ref()
    }

    /// The length of the content.
    pub(crate) fn len(&self) -> u64 {
        self.on_disk.as_ref().map_or_else(|| self.content().len(), |file| file.len())
    }

    /// The content in memory.
    pub(crate) fn content(&self) -> Shared<'_> {
        self.ok.content()
    }

    #[inline]
    pub(crate) fn ok(&self) -> &Rendered {
        &self.ok
    }

    pub(crate) fn not_modified(&self) -> &Rendered {
        &self.not_modified
    }

    pub(crate) fn validators(&self) -> Validators<'_> {
        Validators { etag: &self.etag, modified: self.modified }
    }

    /// The index of the file with this content in the coding.
    pub(crate) fn coded(&self, coding: Coding) -> Option<u32> {
        Some(self.coded[coding as usize]).filter(|index| *index != NONE)
    }

    /// The indexes of the files with this content in a coding.
    pub(super) fn forms(&self) -> impl Iterator<Item = u32> {
        self.coded.into_iter().filter(|index| *index != NONE)
    }

    /// The same file, with the indexes of its forms changed.
    pub(super) fn with_forms(mut self, mut change: impl FnMut(u32) -> u32) -> File {
        self.coded = self.coded.map(|index| if index == NONE { NONE } else { change(index) });
        self
    }

    /// The bytes in memory, which files may share. None for a file that is read from disk.
    pub(super) fn bytes(&self) -> &Arc<Checksummed> {
        &self.content
    }

    /// Whether there is a form in any coding.
    pub(crate) fn varies(&self) -> bool {
        self.coded != [NONE; CODINGS]
    }

    pub(super) fn set_coded(&mut self, coding: Coding, index: u32) {
        self.coded[coding as usize] = index;
    }

    /// The index of the answer to OPTIONS with the fields of this file.
    pub(crate) fn options(&self) -> Option<u32> {
        Some(self.options).filter(|index| *index != NONE)
    }

    pub(super) fn set_options(&mut self, index: u32) {
        self.options = index;
    }

    /// The content as the page of an error.
    pub(super) fn error_page(&self, status: Status, fields: &str) -> Rendered {
        let mut all = with_allow(status, fields);
        let (content_type, len) = (&self.content_type, self.content.as_slice().len());
        // Writing to a string cannot fail.
        let _ = write!(all, "Content-Type: {content_type}\r\nContent-Length: {len}\r\n");
        Rendered::sharing(&all, &self.content)
    }

    /// Bytes of memory outside the struct, without shared content.
    pub(super) fn memory_bytes(&self) -> usize {
        self.ok.memory_bytes() + self.not_modified.memory_bytes() + self.etag.len()
    }
}
