//! What is told: every round's figures, their medians, and the ratios round by round. A ratio is
//! taken within a round, because the machine's speed drifts between rounds.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};
use time::OffsetDateTime;

/// Figures by their name.
pub(crate) type Figures = BTreeMap<&'static str, f64>;

pub(crate) struct Report {
    name: &'static str,
    /// For each contestant (ours first), its rounds.
    rounds: Vec<(&'static str, Vec<Figures>)>,
    /// How the run was set up.
    setting: Value,
}

impl Report {
    pub(crate) fn new(name: &'static str, setting: Value) -> Self {
        Self { name, rounds: Vec::new(), setting }
    }

    pub(crate) fn add(&mut self, contestant: &'static str, figures: Figures) {
        let told: Vec<_> =
            figures.iter().map(|(name, value)| format!("{name} {}", short(*value))).collect();
        println!("  {contestant}: {}", told.join(", "));
        match self.rounds.iter_mut().find(|(name, _)| *name == contestant) {
            Some((_, rounds)) => rounds.push(figures),
            None => self.rounds.push((contestant, vec![figures])),
        }
    }

    /// Prints the medians and ratios, and writes everything to `bench/results/`.
    pub(crate) fn end(&self) -> anyhow::Result<()> {
        println!(
            "\n{} (median of the rounds; ratio ours/reference, median [least, most])",
            self.name
        );
        let Some((first, ours)) = self.rounds.first() else { return Ok(()) };
        let mut medians = BTreeMap::new();
        let mut ratios = BTreeMap::new();
        for (contestant, rounds) in &self.rounds {
            let mut of_one = BTreeMap::new();
            for name in names(rounds) {
                let Some(value) = median(rounds.iter().filter_map(|r| r.get(name)).copied()) else {
                    continue;
                };
                of_one.insert(name, value);
                let each: Vec<f64> = ours
                    .iter()
                    .zip(rounds)
                    .filter_map(|(ours, theirs)| Some(ours.get(name)? / theirs.get(name)?))
                    .filter(|ratio| ratio.is_finite())
                    .collect();
                let ratio = median(each.iter().copied()).filter(|_| contestant != first);
                let told = ratio.map_or_else(String::new, |ratio| {
                    let least = each.iter().copied().fold(f64::INFINITY, f64::min);
                    let most = each.iter().copied().fold(0.0, f64::max);
                    ratios.insert(
                        format!("{name}: {first} / {contestant}"),
                        json!({"median": ratio, "least": least, "most": most}),
                    );
                    format!("   ratio {ratio:.3} [{least:.3}, {most:.3}]")
                });
                println!("  {contestant:<28} {name:<22} {:>12}{told}", short(value));
            }
            medians.insert(*contestant, of_one);
        }
        let rounds: BTreeMap<_, _> = self.rounds.iter().map(|(name, r)| (name, r)).collect();
        let date = OffsetDateTime::now_utc().date().to_string();
        let all = json!({
            "benchmark": self.name, "date": date, "machine": machine(), "setting": self.setting,
            "medians": medians, "ratios": ratios, "rounds": rounds,
        });
        let folder = Path::new(crate::RESULTS);
        fs::create_dir_all(folder)?;
        let file = folder.join(format!("{}.json", self.name));
        fs::write(&file, serde_json::to_string_pretty(&all)? + "\n")
            .with_context(|| format!("write {}", file.display()))?;
        println!("written to {}", file.display());
        Ok(())
    }
}

fn names(rounds: &[Figures]) -> Vec<&'static str> {
    rounds.first().map(|figures| figures.keys().copied().collect()).unwrap_or_default()
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn short(value: f64) -> String {
    if value >= 1_000.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}

fn machine() -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let model = processors.lines().find_map(|line| line.strip_prefix("model name"));
    json!({
        "processors": std::thread::available_parallelism().map_or(0, usize::from),
        "model": model.map(|text| text.trim_start_matches(['\t', ' ', ':'])),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "memory": read("/proc/meminfo").lines().next().unwrap_or_default(),
    })
}
