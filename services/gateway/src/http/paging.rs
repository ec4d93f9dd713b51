//! Lists a page at a time: `limit` and an opaque signed `cursor` in, `next_cursor` out.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use triggerline_store::Direction;
use triggerline_types::{CustomerId, parse_instant};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::cursor::Cursors;
use crate::inbox::{DEFAULT_LIMIT, MAX_LIMIT};
use crate::problem::Problem;

#[derive(Serialize, ToSchema)]
pub(super) struct Page<T> {
    pub(super) data: Vec<T>,
    /// For the next page; null on the last one.
    pub(super) next_cursor: Option<String>,
}

/// The query of a list that has no filters.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Paging {
    /// At most so many; 50 if absent.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200)]
    limit: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

impl Paging {
    /// The id after which to go on, and how many to show. `list` names the list, so that one's
    /// cursor is of no use for another.
    pub(super) fn read(
        &self,
        cursors: &Cursors,
        customer: CustomerId,
        list: &str,
    ) -> Result<(Option<Uuid>, usize), Problem> {
        let read = |text| cursors.read_id(text, customer, list).ok_or_else(foreign_cursor);
        let after = self.cursor.as_deref().map(read);
        Ok((after.transpose()?, limit(self.limit.as_deref())?))
    }
}

impl<T> Page<T> {
    /// A page of `found`, which holds one more than `limit` if there is a next page.
    pub(super) fn of<F>(
        mut found: Vec<F>,
        limit: usize,
        id: impl Fn(&F) -> Uuid,
        cursors: &Cursors,
        customer: CustomerId,
        list: &str,
        view: impl Fn(F) -> T,
    ) -> Self {
        let more = found.len() > limit;
        found.truncate(limit);
        let end = found.last().filter(|_| more).map(id);
        Self {
            next_cursor: end.map(|id| cursors.write_id(id, customer, list)),
            data: found.into_iter().map(view).collect(),
        }
    }
}

pub(super) fn limit(text: Option<&str>) -> Result<usize, Problem> {
    let Some(text) = text else {
        return Ok(DEFAULT_LIMIT);
    };
    let limit = text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
    limit.ok_or_else(|| Problem::parameter("limit", format!("is a number from 1 to {MAX_LIMIT}")))
}

/// The parameters `from` and `to`.
pub(super) fn instant(name: &str, text: Option<&str>) -> Result<Option<OffsetDateTime>, Problem> {
    let told = "is an instant in RFC 3339, such as 2026-11-23T13:05:07Z";
    let read = |text| parse_instant(text).map_err(|_| Problem::parameter(name, told));
    text.map(read).transpose()
}

/// The parameter `order`.
pub(super) fn order(text: Option<&str>) -> Result<Direction, Problem> {
    match text {
        None | Some("desc") => Ok(Direction::NewestFirst),
        Some("asc") => Ok(Direction::OldestFirst),
        Some(_) => Err(Problem::parameter("order", "is desc (newest first) or asc (oldest first)")),
    }
}

pub(super) fn foreign_cursor() -> Problem {
    Problem::parameter("cursor", "is not one that this query was given; start without a cursor")
}
