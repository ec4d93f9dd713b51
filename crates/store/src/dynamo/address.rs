//! `dynamodb:TABLE[?region=R][&endpoint=http://HOST:PORT]`.

use url::Url;

use crate::error::StoreError;

const KNOWN: &str = "known are region=NAME and endpoint=http://HOST:PORT";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) table: String,
    /// `None`: what the environment, the profile or the machine says.
    pub(super) region: Option<String>,
    /// `None`: AWS's own, of the region.
    pub(super) endpoint: Option<String>,
}

impl Address {
    pub(super) fn parse(text: &str) -> Result<Self, StoreError> {
        let wrong = |what: String| StoreError::Address(what);
        let url = Url::parse(text).map_err(|error| wrong(error.to_string()))?;
        let table = url.path();
        // What DynamoDB takes (API reference, CreateTable).
        let is_name = (3..=255).contains(&table.len())
            && table.chars().all(|one| one.is_ascii_alphanumeric() || "_.-".contains(one));
        if !is_name {
            return Err(wrong(format!(
                "has the table {table:?}; write dynamodb:TABLE, of 3 to 255 of a-z, A-Z, 0-9, _, . and -"
            )));
        }
        let mut address = Self { table: table.to_owned(), region: None, endpoint: None };
        for (name, value) in url.query_pairs() {
            match &*name {
                "region" if !value.is_empty() => address.region = Some(value.into_owned()),
                "region" => return Err(wrong("has an empty region".to_owned())),
                "endpoint" => {
                    let is_web = Url::parse(&value).is_ok_and(|url| {
                        matches!(url.scheme(), "http" | "https") && url.has_host()
                    });
                    if !is_web {
                        return Err(wrong(format!(
                            "has the endpoint {value:?}; write endpoint=http://HOST:PORT or https://HOST"
                        )));
                    }
                    address.endpoint = Some(value.into_owned());
                }
                other => return Err(wrong(format!("has the parameter {other:?}; {KNOWN}"))),
            }
        }
        Ok(address)
    }

    /// Whether it is DynamoDB Local, or something like it: AWS itself speaks TLS only.
    pub(super) fn is_local(&self) -> bool {
        self.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read() {
        let of = |table: &str, region: Option<&str>, endpoint: Option<&str>| Address {
            table: table.to_owned(),
            region: region.map(str::to_owned),
            endpoint: endpoint.map(str::to_owned),
        };
        let local = "http://127.0.0.1:8000";
        for (text, expected, is_local) in [
            ("dynamodb:inbox", of("inbox", None, None), false),
            (
                "dynamodb:In.b_o-x?region=eu-central-1",
                of("In.b_o-x", Some("eu-central-1"), None),
                false,
            ),
            ("dynamodb:inbox?endpoint=http://127.0.0.1:8000", of("inbox", None, Some(local)), true),
            (
                "dynamodb:inbox?region=r&endpoint=https%3A%2F%2Fdynamodb.example",
                of("inbox", Some("r"), Some("https://dynamodb.example")),
                false,
            ),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((&address, address.is_local()), (&expected, is_local), "{text}");
        }
        for (text, told) in [
            ("dynamodb:", "dynamodb:TABLE"),
            ("dynamodb:ab", "dynamodb:TABLE"),
            ("dynamodb:in/box", "dynamodb:TABLE"),
            ("dynamodb://host/inbox", "dynamodb:TABLE"),
            ("dynamodb:inbox?region=", "region"),
            ("dynamodb:inbox?endpoint=localhost:8000", "endpoint=http://HOST:PORT"),
            ("dynamodb:inbox?shard=2", "region=NAME"),
        ] {
            let error = Address::parse(text).unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
