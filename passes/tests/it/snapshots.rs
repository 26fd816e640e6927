//! What `pack` and `lower` write for small networks. Review every change: these are the programs that are run encrypted.

use fhec_ir::text::print_module;
use fhec_passes::Lower;
use fhec_passes::lower::LowerToCkks;
use fhec_passes::pack::Pack;

use crate::nets::Net;

fn both(net: Net, result: fhec_ir::Value, slots: usize) -> (String, String) {
    let (module, _) = net.finish(&[result]);
    let slot = Pack::new(slots).run(&module).expect("packs");
    let ckks = LowerToCkks::default().run(&slot).expect("lowers");
    (print_module(&slot), print_module(&ckks))
}

#[test]
fn convolution_polynomial_pool_dense() {
    let mut net = Net::new(41);
    let x = net.input([1, 1, 8, 8]);
    let y = net.conv3(x, 4, 2);
    let y = net.polynomial(y, 3, false);
    let y = net.avg_pool(y, 2, 2);
    let y = net.flatten(y);
    let y = net.fully_connected(y, 3);
    let (slot, ckks) = both(net, y, 64);
    insta::assert_snapshot!("cnn_slot", slot);
    insta::assert_snapshot!("cnn_ckks", ckks);
}

#[test]
fn residual_block() {
    let mut net = Net::new(42);
    let x = net.input([1, 2, 4, 4]);
    let r = net.polynomial(x, 3, true);
    let y = net.conv3(r, 2, 1);
    let y = net.polynomial(y, 2, false);
    let y = net.conv3(y, 2, 1);
    let y = net.add(y, r);
    let (slot, ckks) = both(net, y, 32);
    insta::assert_snapshot!("residual_slot", slot);
    insta::assert_snapshot!("residual_ckks", ckks);
}
