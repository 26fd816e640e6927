//! Labels that are not one class number per image are refused, and so are files without images.

use fhec::ir::{Port, Shape};
use fhec::{Tensor, data};

use super::Place;
use super::pipeline::compiled;

/// Writes one row of numbers per image.
fn write_rows(p: &Place, file: &str, rows: &[&[f32]]) {
    let port = Port { name: "labels".into(), shape: Shape(vec![rows[0].len()]), ..Default::default() };
    let row = |row: &&[f32]| vec![Tensor::new([row.len()], *row)];
    data::write_samples(p.path(file), &[port], &rows.iter().map(row).collect::<Vec<_>>()).unwrap();
}

#[test]
fn labels_that_are_not_one_class_per_image_are_refused_everywhere() {
    let p = compiled();
    let cases: [(&str, &[&[f32]], &str); 6] = [
        ("hot.npy", &[&[1.0, 0.0, 0.0], &[0.0, 1.0, 0.0], &[0.0, 1.0, 0.0]], "one class number per image"),
        ("few.npy", &[&[1.0], &[2.0]], "2 labels for 3 images"),
        ("many.npy", &[&[1.0], &[2.0], &[0.0], &[1.0]], "4 labels for 3 images"),
        ("far.npy", &[&[1.0], &[2.0], &[99.0]], "the label 99 of image 2 is no class: output `y` has classes 0 to 2"),
        ("negative.npy", &[&[1.0], &[-1.0], &[0.0]], "the label -1 of image 1"),
        ("half.npy", &[&[0.5], &[1.0], &[0.0]], "the label 0.5 of image 0"),
    ];
    for (file, rows, reason) in cases {
        write_rows(&p, file, rows);
        for command in [
            &["simulate", "plan.fhe", "--input", "x.npy", "--labels", file][..],
            &["simulate", "plan.fhe", "--input", "x.npy", "--limit", "2", "--labels", file],
            &["run", "plan.fhe", "--input", "x.npy", "-o", "y.npy", "--labels", file],
            &["tiny.onnx", "-o", "z.fhe", "--validation", "x.npy", "--labels", file],
        ] {
            let message = p.fails(command);
            assert!(message.contains(reason) && message.contains(file), "{command:?}: {message}");
        }
    }
    assert!(!p.path("z.fhe").exists() && !p.path("y.npy").exists());
    write_rows(&p, "right.npy", &[&[1.0], &[2.0], &[0.0]]);
    let report = p.json(&["simulate", "plan.fhe", "--input", "x.npy", "--limit", "2", "--labels", "right.npy"]);
    assert_eq!((&report["labelled"], &report["images"]), (&2.into(), &2.into()), "{report}");
}

#[test]
fn a_file_without_images_is_named() {
    let p = compiled();
    let port = Port { name: "x".into(), shape: Shape(vec![1, 1, 8, 8]), ..Default::default() };
    data::write_samples(p.path("none.npy"), &[port], &[]).unwrap();
    p.ok(&["keygen", "plan.fhe", "--secret", "client.key", "--evaluation", "server.key"]);
    for command in [
        &["simulate", "plan.fhe", "--input", "none.npy"][..],
        &["run", "plan.fhe", "--input", "none.npy", "-o", "y.npy"],
        &["encrypt", "plan.fhe", "--secret", "client.key", "--input", "none.npy", "-o", "y.ct"],
        &["tiny.onnx", "-o", "z.fhe", "--calibration", "none.npy"],
    ] {
        let message = p.fails(command);
        assert!(message.contains("none.npy: there are no images"), "{command:?}: {message}");
    }
}
