//! The client side: secret keys, key generation, encryption, decryption.
