//! Where things lie: the checkout itself, cargo's target folder, and the cache of downloaded parts.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

#[derive(Debug, Clone)]
pub(crate) struct Checkout {
    /// The folder of the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Where the cargo commands that we start build.
    pub(crate) cargo_target: PathBuf,
    /// Downloads, shared between checkouts; safe to delete.
    pub(crate) cache: PathBuf,
}

impl Checkout {
    pub(crate) fn find() -> Result<Self> {
        // `cargo run` sets the variable at run time too. That one is right even if the program was built in
        // another checkout that shares our target folder.
        let manifest = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest.parent().context("xtask has no folder above it")?.to_path_buf();
        let cache = folder_from_env("TRIGGERLINE_CACHE", || {
            let home = env::var_os("HOME").context("neither TRIGGERLINE_CACHE nor HOME is set")?;
            Ok(Path::new(&home).join(".cache/triggerline"))
        })?;
        // Outside the checkout: a build is 9 minutes, and a fresh clone should not pay for it again.
        let cargo_target = folder_from_env("CARGO_TARGET_DIR", || Ok(cache.join("target")))?;
        Ok(Self { root, cargo_target, cache })
    }

    /// Where tests and people find the addresses of the services that are up.
    pub(crate) fn services_env(&self) -> PathBuf {
        self.root.join("target/services.env")
    }

    /// The program that shell tests drive.
    pub(crate) fn binary(&self) -> PathBuf {
        self.cargo_target.join("debug/triggerline")
    }
}

fn folder_from_env(name: &str, default: impl FnOnce() -> Result<PathBuf>) -> Result<PathBuf> {
    let path = match env::var_os(name) {
        Some(value) if !value.is_empty() => PathBuf::from(value),
        _ => default()?,
    };
    // Children may run in another folder, where a relative path would mean something else.
    std::path::absolute(&path).with_context(|| format!("{name}={}", path.display()))
}
