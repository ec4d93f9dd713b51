//! `triggerline sign` and `triggerline verify`: Standard Webhooks by hand, without any server.
//!
//! Who writes a receiver **signs** a body of their own and sends it there with curl; who is told that
//! a signature is wrong **verifies** what arrived, and learns which part of it is.
#![allow(clippy::print_stdout, reason = "these commands print their result for a person")]

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use time::OffsetDateTime;
use triggerline_service::config::duration::parse;
use triggerline_types::{PublicKey, Secret};
use triggerline_wire::webhook::{self, VerifyError, VerifyingKey};

const SIGN_EXAMPLE: &str = "\
Example: a webhook to a receiver on this machine, as Triggerline would send it.

  export TRIGGERLINE_WEBHOOK_SECRET=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw
  printf '{\"hello\": \"world\"}' > body.json
  triggerline sign --id msg_1 body.json > headers.txt
  curl http://127.0.0.1:3000/webhooks -H @headers.txt \\
    -H 'Content-Type: application/json' --data-binary @body.json

The body is signed byte for byte: curl's --data would drop line ends, --data-binary doesn't.";

const VERIFY_EXAMPLE: &str = "\
Example: is this webhook genuine? Its headers are the arguments; its body is a file, or comes in.

  export TRIGGERLINE_WEBHOOK_SECRET=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw
  printf '{\"test\": 2432232314}' | triggerline verify --id msg_p5jXN8AQM9LWM0D4loKWxJek \\
    --timestamp 1614265330 --tolerance 36500d \\
    --signature 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='

The status is 0 where it is, 1 where it is not (the reason is told), 2 where an argument is missing.";

/// What both commands are given.
#[derive(Debug, Args)]
pub(crate) struct Given {
    /// The body, byte for byte as it is sent; standard input where absent or `-`.
    #[arg(value_name = "FILE")]
    body: Option<PathBuf>,
}

impl Given {
    fn body(&self) -> anyhow::Result<Vec<u8>> {
        match self.body.as_deref() {
            Some(path) if path != Path::new("-") => {
                fs::read(path).with_context(|| format!("read the body from {}", path.display()))
            }
            _ => {
                let mut body = Vec::new();
                io::stdin().read_to_end(&mut body).context("read the body from standard input")?;
                Ok(body)
            }
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = SIGN_EXAMPLE)]
pub(crate) struct Sign {
    /// The subscription's secret, `whsec_…`, or private key, `whsk_…`. Several, with commas between them, are several
    /// signatures, as while a secret is rotated. Better in the environment than here, where others
    /// may see it.
    #[arg(
        long,
        value_name = "SECRET",
        value_delimiter = ',',
        required = true,
        env = "TRIGGERLINE_WEBHOOK_SECRET",
        hide_env_values = true
    )]
    secret: Vec<String>,
    /// `webhook-id`: what a receiver knows repetitions by.
    #[arg(long, value_parser = id)]
    id: String,
    /// `webhook-timestamp`, in seconds since 1970; now, where absent.
    #[arg(long, value_name = "SECONDS")]
    timestamp: Option<i64>,
    #[command(flatten)]
    given: Given,
}

#[derive(Debug, Args)]
#[command(after_help = VERIFY_EXAMPLE)]
pub(crate) struct Verify {
    /// The subscription's secret, `whsec_…`, or its public key, `whpk_…`. Better in the environment than
    /// here, where others may see it.
    #[arg(long, value_name = "SECRET", env = "TRIGGERLINE_WEBHOOK_SECRET", hide_env_values = true)]
    secret: String,
    /// The header `webhook-id`.
    #[arg(long)]
    id: String,
    /// The header `webhook-timestamp`.
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    timestamp: String,
    /// The header `webhook-signature`, whole: one of its signatures must fit.
    #[arg(long)]
    signature: String,
    /// How far the timestamp may be from now, either way.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    tolerance: Duration,
    #[command(flatten)]
    given: Given,
}

/// Prints the three headers.
pub(crate) fn sign(asked: &Sign) -> anyhow::Result<()> {
    let secrets = asked.secret.iter().map(|text| secret(text));
    let secrets = secrets.collect::<anyhow::Result<Vec<_>>>()?;
    let timestamp = asked.timestamp.unwrap_or_else(now);
    let body = asked.given.body()?;
    let signatures: Vec<_> =
        secrets.iter().map(|secret| webhook::sign(secret, &asked.id, timestamp, &body)).collect();
    println!("{}: {}", webhook::ID, asked.id);
    println!("{}: {timestamp}", webhook::TIMESTAMP);
    println!("{}: {}", webhook::SIGNATURE, signatures.join(" "));
    Ok(())
}

/// An error where it is not genuine.
pub(crate) fn verify(asked: &Verify) -> anyhow::Result<()> {
    let key = match asked.secret.trim() {
        text if text.starts_with("whpk_") => {
            VerifyingKey::Public(PublicKey::parse(text).context("the key can't be used")?)
        }
        text => VerifyingKey::Secret(secret(text)?),
    };
    let body = asked.given.body()?;
    let Verify { id, timestamp, signature, tolerance, .. } = asked;
    let tolerance = tolerance.as_secs();
    webhook::verify_within(tolerance, &key, id, timestamp, signature, &body, now())
        .map_err(|error| anyhow::anyhow!("{error}{}", advice(&error)))
        .context("not genuine")?;
    println!("genuine");
    Ok(())
}

/// What to look at.
fn advice(error: &VerifyError) -> &'static str {
    match error {
        VerifyError::Timestamp(_) => "; give the header webhook-timestamp as it is",
        VerifyError::TooOld { .. } | VerifyError::TooNew { .. } => {
            "; --tolerance allows more, the clocks may differ"
        }
        VerifyError::Signature => {
            ": another secret, or another id, timestamp or body than was signed (a body that was \
             parsed and written again is another one)"
        }
    }
}

fn secret(text: &str) -> anyhow::Result<Secret> {
    // What was given is not repeated: it may be a secret all the same.
    Secret::parse(text.trim()).context("the secret can't be used")
}

/// Without a dot, which separates what is signed, and without what would end a header.
fn id(text: &str) -> Result<String, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'.') {
        Ok(text.to_owned())
    } else {
        Err("an id is made of visible ASCII characters other than the dot".to_owned())
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    parse(text).ok_or_else(|| "a number and a unit, such as 30s, 5m or 2h".to_owned())
}

fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}
