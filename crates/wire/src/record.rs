//! A Kafka record without Kafka: what the other modules encode into and decode from.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;

use bytes::Bytes;
use time::OffsetDateTime;
use triggerline_types::parse_instant;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Decides the partition.
    pub key: Bytes,
    /// In the order in which they were written; a name may repeat, the last one counts.
    pub headers: Vec<(Cow<'static, str>, Bytes)>,
    pub value: Bytes,
}

/// Why a record can't be read. Told to people in the dead-letter topic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("header {0} is missing")]
    Missing(&'static str),
    #[error("header {header} is {found:?}: {why}")]
    Header { header: &'static str, found: String, why: String },
    #[error("the value: {0}")]
    Value(String),
}

impl Record {
    pub(crate) fn push(&mut self, name: &'static str, value: impl Into<Bytes>) {
        self.headers.push((Cow::Borrowed(name), value.into()));
    }

    pub(crate) fn push_display(&mut self, name: &'static str, value: impl Display) {
        self.push(name, value.to_string());
    }

    /// The last header of this name, as text.
    pub fn text(&self, name: &'static str) -> Result<Option<&str>, DecodeError> {
        let Some((_, value)) = self.headers.iter().rfind(|(found, _)| found == name) else {
            return Ok(None);
        };
        match std::str::from_utf8(value) {
            Ok(text) => Ok(Some(text)),
            Err(error) => Err(DecodeError::Header {
                header: name,
                found: String::from_utf8_lossy(value).into_owned(),
                why: error.to_string(),
            }),
        }
    }

    pub(crate) fn required(&self, name: &'static str) -> Result<&str, DecodeError> {
        self.text(name)?.ok_or(DecodeError::Missing(name))
    }

    pub(crate) fn parse<T: FromStr<Err: Display>>(
        &self,
        name: &'static str,
    ) -> Result<T, DecodeError> {
        let text = self.required(name)?;
        text.parse().map_err(|why: T::Err| invalid(name, text, why))
    }

    pub(crate) fn parse_optional<T: FromStr<Err: Display>>(
        &self,
        name: &'static str,
    ) -> Result<Option<T>, DecodeError> {
        self.text(name)?.map(|_| self.parse(name)).transpose()
    }

    pub(crate) fn instant(
        &self,
        name: &'static str,
    ) -> Result<Option<OffsetDateTime>, DecodeError> {
        self.text(name)?
            .map(|text| parse_instant(text).map_err(|why| invalid(name, text, why)))
            .transpose()
    }
}

pub(crate) fn invalid(header: &'static str, found: &str, why: impl Display) -> DecodeError {
    DecodeError::Header { header, found: found.to_owned(), why: why.to_string() }
}
