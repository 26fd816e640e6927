//! Times the kernels that plans spend their time in: `cargo bench -p fhec --bench kernels`. N = 2^15 and 16 limbs, which
//! leveled networks of some depth have; one thread. `fhec bench` compares the same operations with lower bounds and checks
//! results.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use fhec_ckks::{Context, Evaluator, KeyName, KeyRequest, ParamSpec, Params, Role};
use fhec_client::{KeyGenerator, Randomness, SecretKey};
use fhec_ring::{Isa, Ring, ntt_primes};

const LOG_N: u32 = 15;
const LIMBS: u32 = 16;
const DIGITS: u32 = 4;

/// Transforms of one limb, there and back.
fn transforms(c: &mut Criterion) {
    let primes = ntt_primes(LOG_N, (1 << 50) - 1, 1, &[]).expect("a prime below 2^50");
    let ring = Ring::new(LOG_N, &primes, Isa::detect()).expect("a ring of one prime");
    let limb: Vec<u64> = (0..1u64 << LOG_N).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) % primes[0]).collect();
    let copy = || limb.clone();
    c.bench_function("ntt/forward", |b| {
        b.iter_batched_ref(copy, |limb| ring.limb(0).forward(black_box(limb)), BatchSize::LargeInput)
    });
    c.bench_function("ntt/inverse", |b| {
        b.iter_batched_ref(copy, |limb| ring.limb(0).inverse(black_box(limb)), BatchSize::LargeInput)
    });
}

/// Operations on ciphertexts: a rotation is a key switch and a permutation, a product with its relinearisation another.
fn ciphertexts(c: &mut Criterion) {
    let spec = ParamSpec {
        log_n: LOG_N,
        first_bits: 50,
        scale_bits: 49,
        levels: LIMBS - 1,
        special: LIMBS / DIGITS,
        special_bits: 50,
        bootstrap: None,
        // Sixteen limbs of 50 bits with their special primes are more than this ring keeps secret.
        insecure: true,
    };
    let ctx = Context::new(Params::new(spec).expect("parameters")).expect("a context");
    let level = LIMBS as usize - 1;
    let mut random = Randomness::system().expect("randomness");
    let secret = SecretKey::generate(&ctx, &mut random).expect("a secret key");
    let requests = [KeyName::Relin, KeyName::Rotation(1)].map(|name| KeyRequest { name, level });
    let keys = KeyGenerator::new(&ctx, &secret, &mut random)
        .and_then(|mut generator| generator.generate(&requests, |_| ()))
        .expect("evaluation keys");
    let eval = Evaluator::new(ctx.clone(), Arc::new(keys)).expect("an evaluator");
    let slots: Vec<f64> = (0..ctx.params().max_slots()).map(|i| (i as f64 * 0.37).sin()).collect();
    let x = secret.encrypt(&ctx, &slots, level, &mut random).expect("a ciphertext");
    let factor = ctx.encode(&slots, Role::Factor { operand: level, at: level }).expect("a plaintext").evaluate(&ctx);
    let product = eval.mul_plain(&x, &factor).expect("a product");
    c.bench_function("ckks/rotate", |b| b.iter(|| eval.rotate(black_box(&x), 1)));
    c.bench_function("ckks/mul_plain", |b| b.iter(|| eval.mul_plain(black_box(&x), &factor)));
    c.bench_function("ckks/rescale", |b| b.iter(|| eval.rescale(black_box(&product))));
    c.bench_function("ckks/mul, relinearise, rescale", |b| b.iter(|| eval.mul_rescale(black_box(&x), &x)));
}

/// Both groups; the operations run on the global pool of threads.
fn on_one_thread(c: &mut Criterion) {
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().expect("a pool that nothing has used yet");
    transforms(c);
    ciphertexts(c);
}

criterion_group! {
    name = kernels;
    config = Criterion::default().sample_size(20);
    targets = on_one_thread
}
criterion_main!(kernels);
