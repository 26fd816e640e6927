//! Secrets do not come back in memory that is lent again. This test is alone in its process, because there is one pool
//! of dropped polynomials.

use fhec_ckks::{Ciphertext, Context, ParamSpec, Params, Role};
use fhec_client::{Randomness, SecretKey};
use fhec_ring::RnsPoly;

/// Large enough that polynomials of two limbs are kept for the next ones.
const LOG_N: u32 = 13;

/// Whether some buffer that can be had now holds any of these limbs.
fn lent(n: usize, sought: &[Vec<u64>]) -> bool {
    // All that is kept, and more.
    let buffers: Vec<RnsPoly> = (0..64).flat_map(|_| [2, 3, 4]).map(|limbs| RnsPoly::unspecified(n, limbs)).collect();
    let holds = |limb: &[u64]| sought.iter().any(|s| limb == s);
    buffers.iter().any(|buffer| buffer.limbs().any(holds))
}

#[test]
fn dropped_secrets_and_messages_are_lent_to_nobody() {
    let spec = ParamSpec {
        log_n: LOG_N,
        first_bits: 50,
        scale_bits: 40,
        levels: 1,
        special: 1,
        special_bits: 50,
        bootstrap: None,
        insecure: true,
    };
    let ctx = Context::new(Params::new(spec).unwrap()).unwrap();
    let n = ctx.params().n();
    let secret = SecretKey::generate(&ctx, &mut Randomness::from_seed(&[1; 32])).unwrap();
    // Decrypting (0, 1) gives the secret: a message whose residues are known.
    let mut one = RnsPoly::zero(n, 2);
    one.as_mut_slice().fill(1);
    let ct = Ciphertext::from_parts(&ctx, vec![RnsPoly::zero(n, 2), one], 1, n / 2, secret.id()).unwrap();
    let slots = secret.decrypt(&ctx, &ct).unwrap();
    let plain = ctx.encode_complex(&slots.re, &slots.im, Role::Term { level: 1, sd: 1 }).unwrap();
    let mut values = vec![0; n];
    let mut sought = vec![ctx.plain_limb(&plain, 0, &mut values).to_vec()];
    let mut message = sought[0].clone();
    ctx.ring().limb(0).inverse(&mut message);
    sought.push(message);
    // What is dropped without care is found: the search works.
    let mut careless = RnsPoly::zero(n, 3);
    careless.limb_mut(1).copy_from_slice(&sought[0]);
    drop(careless);
    assert!(lent(n, &sought[..1]));
    let wipe: Vec<RnsPoly> = (0..64).flat_map(|_| [2, 3, 4]).map(|limbs| RnsPoly::zero(n, limbs)).collect();
    drop(wipe);
    assert!(!lent(n, &sought));
    drop(secret.decrypt(&ctx, &ct).unwrap());
    assert!(!lent(n, &sought), "a decrypted message is lent again");
    drop(secret);
    assert!(!lent(n, &sought), "a secret is lent again");
}
