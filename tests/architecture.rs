//! The directions of ARCHITECTURE.md, as checks over what cargo and git know.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use windrow_tests::server::repository;

/// Ours, as folder name → what it may use of ours, in any kind of dependency.
const MAY_USE: &[(&str, &[&str])] = &[
    ("windrow-protocol", &[]),
    ("windrow-window", &[]),
    ("windrow-memory", &[]),
    ("windrow-storage", &[]),
    ("windrow-engine", &["windrow-window", "windrow-memory"]),
    ("windrow-durability", &["windrow-engine", "windrow-storage", "windrow-memory", "windrow-window"]),
    ("windrow-client", &[]),
    ("windrow-bench", &["windrow-client"]),
    (
        "windrow-server",
        &[
            "windrow-durability",
            "windrow-engine",
            "windrow-storage",
            "windrow-protocol",
            "windrow-memory",
            "windrow-window",
            "windrow-client",
        ],
    ),
    ("windrow-tests", &[]),
    (
        "windrow-simulation",
        &["windrow-durability", "windrow-engine", "windrow-storage", "windrow-memory", "windrow-window"],
    ),
];

/// The one crate that may use unsafe.
const MAY_BE_UNSAFE: &str = "windrow-memory";

/// The one other file that may, for calls to the system, and its crate, which has the workspace's lints but for that.
const UNSAFE_CALLS: (&str, &str) = ("windrow-storage", "server/storage/src/disk/real/system.rs");

#[test]
fn dependencies_point_one_way() {
    let may_use: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let packages = packages();
    let names: BTreeSet<&str> = packages.iter().map(|package| package["name"].as_str().unwrap()).collect();
    assert_eq!(names, may_use.keys().copied().collect(), "a crate is missing in this table, or gone");
    for package in &packages {
        let name = package["name"].as_str().unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            let used = dependency["name"].as_str().unwrap();
            if names.contains(used) {
                assert!(may_use[name].contains(&used), "{name} must not depend on {used}");
            }
        }
    }
}

#[test]
fn every_crate_but_memory_forbids_unsafe_code() {
    let root: String = fs::read_to_string(repository().join("Cargo.toml")).unwrap();
    assert!(root.contains("unsafe_code = \"forbid\""), "the workspace's lints no longer forbid unsafe code");
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        let manifest = fs::read_to_string(package["manifest_path"].as_str().unwrap()).unwrap();
        let inherits = manifest.contains("[lints]\nworkspace = true");
        let is_excepted = [MAY_BE_UNSAFE, UNSAFE_CALLS.0].contains(&name);
        assert_eq!(inherits, !is_excepted, "{name}: who inherits the workspace's lints has changed");
    }
}

#[test]
fn storage_has_the_lints_of_the_workspace_and_unsafe_code_in_one_file() {
    let root: toml::Table = fs::read_to_string(repository().join("Cargo.toml")).unwrap().parse().unwrap();
    let storage: toml::Table =
        fs::read_to_string(repository().join("server/storage/Cargo.toml")).unwrap().parse().unwrap();
    for (group, lints) in root["workspace"]["lints"].as_table().unwrap() {
        for (lint, level) in lints.as_table().unwrap() {
            let expected = match lint.as_str() {
                "unsafe_code" | "undocumented_unsafe_blocks" => &toml::Value::String("deny".to_owned()),
                _ => level,
            };
            assert_eq!(&storage["lints"][group][lint], expected, "{lint} in server/storage/Cargo.toml");
        }
    }
    let listing = Command::new("git")
        .arg("-C")
        .arg(repository())
        .args(["grep", "-l", "--untracked", "-E", r"(allow|expect)\(unsafe_code", "--", "server/storage"])
        .output()
        .expect("git can be run");
    assert_eq!(String::from_utf8(listing.stdout).unwrap().trim(), UNSAFE_CALLS.1);
}

#[test]
fn nothing_generated_is_tracked() {
    let listing = Command::new("git").arg("-C").arg(repository()).args(["ls-files", "-z"]).output();
    let listing = listing.expect("git can be run");
    assert!(listing.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listing.stderr));
    let tracked = String::from_utf8(listing.stdout).expect("paths are UTF-8");
    let generated = ["target/", "node_modules/", ".venv/", "__pycache__/", ".pytest_cache/"];
    for path in tracked.split('\0') {
        let found = generated
            .iter()
            .find(|folder| path.starts_with(**folder) || path.contains(&format!("/{folder}")));
        assert!(found.is_none(), "{path} is build output");
    }
}

#[test]
fn no_lock_file_names_the_host_of_a_registry() {
    let path = repository().join("tests/node/package-lock.json");
    let lock = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(!lock.contains("\"resolved\""), "{} has `resolved` entries", path.display());
}

fn packages() -> Vec<serde_json::Value> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(repository())
        .output()
        .expect("cargo can be run");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    metadata["packages"].as_array().expect("cargo metadata lists packages").clone()
}
