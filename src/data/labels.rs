//! Reads the class numbers of images, and counts the results whose largest score is that of the class.

use std::io::Cursor;
use std::path::Path;

use fhec_ir::{Port, Tensor};

use super::{Array, Arrays, DataError, arrays_at, read_arrays};

/// Class numbers from a file, one for each of `images` images. A class is an element of the first of `outputs`, the outputs
/// for one image.
///
/// # Errors
/// When the file cannot be read, holds more or fewer labels, labels in another form (one row of zeros and a one per image),
/// or one that is no class.
pub fn read_labels(path: &Path, images: usize, outputs: &[Port]) -> Result<Vec<usize>, DataError> {
    labels(path, arrays_at(path)?, images, outputs)
}

/// [`read_labels`] from the bytes of a file; `name` stands for them in errors.
///
/// # Errors
/// As [`read_labels`].
pub fn labels_from_bytes(name: &str, bytes: &[u8], images: usize, outputs: &[Port]) -> Result<Vec<usize>, DataError> {
    let path = Path::new(name);
    labels(path, read_arrays(path, Cursor::new(bytes))?, images, outputs)
}

fn labels(path: &Path, arrays: Arrays, images: usize, outputs: &[Port]) -> Result<Vec<usize>, DataError> {
    let wrong = |reason: String, repair: &str| Err(DataError::new(path, reason, repair));
    let [(_, Array { shape, data })] = &arrays[..] else {
        return wrong(format!("{} arrays, one is needed", arrays.len()), "save the labels as .npy");
    };
    if shape.0.iter().filter(|&&extent| extent != 1).count() > 1 {
        let reason = format!("an array of shape {shape} is not one class number per image");
        return wrong(reason, "labels with one row per image become class numbers by numpy.argmax(x, axis=1)");
    }
    if data.len() != images {
        return wrong(format!("{} labels for {images} images", data.len()), "give one class number per image");
    }
    let Some(first) = outputs.first() else {
        return wrong("the model has no output that names classes".into(), "leave the labels out");
    };
    let (name, classes) = (&first.name, first.shape.len());
    let label = |(i, &x): (usize, &f32)| {
        let class = x >= 0.0 && x.fract() == 0.0 && f64::from(x) < classes as f64;
        if class { Ok(x as usize) } else { Err((i, x)) }
    };
    data.iter().enumerate().map(label).collect::<Result<_, _>>().or_else(|(i, x)| {
        let last = classes.saturating_sub(1);
        let reason = format!("the label {x} of image {i} is no class: output `{name}` has classes 0 to {last}");
        wrong(reason, "save whole numbers from 0, in the order of the elements of that output")
    })
}

/// Index of the largest element: the class a classifier names. None where an element is not finite, or there is none.
pub fn argmax(data: &[f32]) -> Option<usize> {
    if data.iter().any(|x| !x.is_finite()) {
        return None;
    }
    data.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(i, _)| i)
}

/// The class that the first output names.
pub fn class(outputs: &[Tensor]) -> Option<usize> {
    outputs.first().and_then(|tensor| argmax(tensor.data()))
}

/// For how many images the largest element of the first output is the label's. Images without a label do not count.
pub fn count_right(outputs: &[Vec<Tensor>], labels: &[usize]) -> usize {
    outputs.iter().zip(labels).filter(|(tensors, label)| class(tensors) == Some(**label)).count()
}

#[cfg(test)]
mod tests {
    use fhec_ir::Shape;

    use super::super::write_samples;
    use super::*;

    fn port(dims: &[usize]) -> Port {
        Port { name: "y".into(), shape: Shape(dims.to_vec()), ..Default::default() }
    }

    /// What [`read_labels`] makes of one row per image, of a model with ten classes.
    fn read(rows: &[&[f32]], images: usize) -> Result<Vec<usize>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("labels.npy");
        let row = |row: &&[f32]| vec![Tensor::new([row.len()], *row)];
        write_samples(&path, &[port(&[rows[0].len()])], &rows.iter().map(row).collect::<Vec<_>>()).unwrap();
        read_labels(&path, images, &[port(&[1, 10])]).map_err(|e| e.to_string())
    }

    #[test]
    fn one_class_number_per_image_is_read() {
        assert_eq!(read(&[&[3.0], &[0.0], &[9.0]], 3).unwrap(), [3, 0, 9]);
    }

    #[test]
    fn what_is_no_class_number_per_image_is_refused() {
        let one_hot = [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0];
        let cases: [(&[&[f32]], usize, &str); 9] = [
            (&[&one_hot, &one_hot], 2, "shape 2x10 is not one class number per image"),
            (&[&one_hot], 1, "10 labels for 1 images"),
            (&[&[1.0], &[2.0]], 3, "2 labels for 3 images"),
            (&[&[1.0], &[2.0]], 1, "2 labels for 1 images"),
            (&[&[1.0], &[99.0]], 2, "the label 99 of image 1 is no class: output `y` has classes 0 to 9"),
            (&[&[10.0]], 1, "the label 10 of image 0"),
            (&[&[-1.0]], 1, "the label -1 of image 0"),
            (&[&[0.5]], 1, "the label 0.5 of image 0"),
            (&[&[f32::NAN]], 1, "the label NaN of image 0"),
        ];
        for (rows, images, reason) in cases {
            let error = read(rows, images).unwrap_err();
            assert!(error.contains(reason) && error.contains("labels.npy"), "{error}");
        }
    }

    #[test]
    fn results_that_are_not_finite_name_no_class() {
        assert_eq!(argmax(&[1.0, 3.0, 2.0]), Some(1));
        for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(argmax(&[1.0, broken, 2.0]), None);
        }
        assert_eq!(argmax(&[]), None);
        let results = [vec![Tensor::new([2], [0.0, f32::NAN])], vec![Tensor::new([2], [0.0, 1.0])]];
        assert_eq!(count_right(&results, &[1, 1]), 1);
    }
}
