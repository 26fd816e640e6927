//! Tests that need them read data and models beside the repository (`../shared/material`).
//!
//! Where the folder is missing such a test says so on stderr and passes, except in CI, where it fails: there a skipped test
//! would hide a failure.

#![allow(dead_code)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder, or `None` after saying that test `name` is skipped.
///
/// # Panics
/// When the folder is missing and the environment variable `CI` is set.
#[track_caller]
pub fn material(name: &str) -> Option<PathBuf> {
    shared("material", name)
}

/// The folder of small models with inputs and expected values (`../shared/cases`), as [`material`].
///
/// # Panics
/// As [`material`].
#[track_caller]
pub fn cases(name: &str) -> Option<PathBuf> {
    shared("cases", name)
}

#[track_caller]
fn shared(folder: &str, name: &str) -> Option<PathBuf> {
    let manifest = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let found = manifest.ancestors().map(|dir| dir.join("shared").join(folder)).find(|dir| dir.is_dir());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{name} needs ../shared/{folder}, which is missing");
        // Not `eprintln!`: the test harness would swallow it.
        let _ = writeln!(std::io::stderr(), "SKIPPED (needs ../shared/{folder}): {name}");
    }
    found
}

/// Images with their labels, pixels 0 to 255.
pub struct Labelled {
    /// Channels, height and width of an image.
    pub shape: [usize; 3],
    /// The images, one after another.
    pub pixels: Vec<u8>,
    /// The labels.
    pub labels: Vec<u8>,
}

impl Labelled {
    /// The pixels of image `i`, channel by channel.
    pub fn image(&self, i: usize) -> &[u8] {
        let n = self.shape.iter().product::<usize>();
        &self.pixels[i * n..(i + 1) * n]
    }
}

/// The first 1,000 images of the CIFAR-10 test set.
pub fn cifar10_test_first1000(material: &Path) -> Labelled {
    let bytes = read(&material.join("data/cifar10_test_first1000.bin"));
    let records = bytes.chunks_exact(1 + 3072);
    Labelled {
        shape: [3, 32, 32],
        labels: records.clone().map(|r| r[0]).collect(),
        pixels: records.flat_map(|r| r[1..].iter().copied()).collect(),
    }
}

/// The MNIST test set.
pub fn mnist_test(material: &Path) -> Labelled {
    mnist(material, "t10k")
}

/// The MNIST training set.
pub fn mnist_train(material: &Path) -> Labelled {
    mnist(material, "train")
}

fn mnist(material: &Path, set: &str) -> Labelled {
    // idx: a header of 16 bytes before the images, of 8 before the labels.
    let images = gunzip(&material.join(format!("data/{set}-images-idx3-ubyte.gz")));
    let labels = gunzip(&material.join(format!("data/{set}-labels-idx1-ubyte.gz")));
    let data = Labelled { shape: [1, 28, 28], pixels: images[16..].to_vec(), labels: labels[8..].to_vec() };
    assert_eq!(data.pixels.len(), data.labels.len() * 784);
    data
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn gunzip(path: &Path) -> Vec<u8> {
    let output = Command::new("gzip").arg("-dc").arg(path).output().expect("the program `gzip` runs");
    assert!(output.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Unpacks an archive into `folder`.
pub fn untar(archive: &Path, folder: &Path) {
    let output = Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(folder).output().expect("`tar` runs");
    assert!(output.status.success(), "{}: {}", archive.display(), String::from_utf8_lossy(&output.stderr));
}
