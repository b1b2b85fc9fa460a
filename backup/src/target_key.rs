//! The key of a target: its backups are encrypted to it, and it is kept beside them, encrypted to those who can open backups.
//! Whoever destroys it has erased what it opens.
//!
//! ```text
//! break-glass key, drill key ─open─▶ key-1.age ─opens─▶ all backups of the target that name it
//! ```
//!
//! A writer cannot open it, so that it encrypts to what `key-1.json` says. When those who can open backups change, when it is
//! gone, or when nobody vouches for it, the next backup makes the next generation.

use std::io::{Read, Write};

use age::x25519::Recipient;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::decode::{Damage, in_words};
use crate::keys::{Identities, Recipients, Voucher};
use crate::manifest::{self, CanOpen, Manifest, NotARecord, OfKey, Role, Sum, VERSION, digest};
use crate::name::{Beside, Target, beside};
use crate::receipt::{Verify, signed, verified};
use crate::store::{Created, Store, StoreError};

/// What is signed begins with this, so that no signature of something else passes for one.
const DOMAIN: &str = "mainstay target key 1";
/// An encrypted key has less than a kilobyte for each who can open it.
pub(crate) const SECRET_MAX: usize = 64 << 10;
/// The newest generations that are looked at for one that can be used.
const LOOKED_AT: usize = 8;
/// Generations that are tried when others make some at the same time.
const TRIES: u32 = 8;

/// What is known of a target's key without opening it: `key-N.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyRecord {
    /// Of the format.
    pub version: u32,
    /// Whose it is.
    pub target: Target,
    /// The how-manieth, from 1.
    pub generation: u32,
    /// Its public half.
    pub key: String,
    /// Its object, `key-N.age`.
    pub secret: Sum,
    /// Version of that object, where the store keeps versions: erasing asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_version: Option<String>,
    /// Who can open it.
    pub recipients: Vec<CanOpen>,
    /// Who vouches for it; nothing where nobody does, and no second backup is encrypted to it then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vouched: Option<Vouched>,
}

/// Somebody's word that a key is the target's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vouched {
    /// Whose.
    pub signer: String,
    /// Over all of the record, in hexadecimal.
    pub signature: String,
}

impl KeyRecord {
    /// What a signature is over: each on a line of its own.
    fn message(&self, signer: &str) -> Vec<u8> {
        let KeyRecord { target, generation, key, secret, .. } = self;
        let stored = self.stored_version.as_deref().unwrap_or_default();
        let opens: String = self.recipients.iter().map(|one| format!("{} {}\n", role(one.role), one.key)).collect();
        format!("{DOMAIN}\n{target}\n{generation}\n{key}\n{}\n{stored}\n{opens}{signer}\n", secret.sha256).into_bytes()
    }

    /// Does somebody vouch for it whose word counts?
    ///
    /// # Errors
    /// In words, when nobody does.
    pub fn holds(&self, known: &dyn Verify) -> Result<(), String> {
        let vouched = self.vouched.as_ref().ok_or("nobody vouches for it")?;
        // Nothing within may look like a line of its own.
        let one_line = [&self.key, &self.secret.sha256].into_iter().chain(&self.stored_version).chain(self.recipients.iter().map(|one| &one.key));
        if one_line.into_iter().any(|text| text.contains('\n')) {
            return Err("it has a line break in it".to_owned());
        }
        verified(known, &vouched.signer, &self.message(&vouched.signer), &vouched.signature)
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::BreakGlass => "breakGlass",
        Role::Drill => "drill",
        Role::Check => "check",
    }
}

/// Why there is no key to encrypt to.
#[derive(Debug, thiserror::Error)]
pub enum NoKey {
    /// The store did not take it, or give it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It could not be made.
    #[error("the key of the target could not be made: {0}")]
    NotMade(String),
    /// It could not be written down.
    #[error("the key of the target: {0}")]
    Record(#[from] NotARecord),
    /// The store has lost what it took.
    #[error("{0} was written, and reading it back gives something else: this store does not keep what it takes")]
    Lost(String),
}

/// A key to encrypt to.
pub(crate) struct Chosen {
    pub of: OfKey,
    pub recipient: Recipient,
}

/// Chooses a target's key for a writer with fewer rights, to whom nobody's word is lent: see [`crate::worker`].
///
/// # Errors
/// When the store does not take one.
pub async fn for_worker(store: &Store, target: &Target, recipients: &Recipients) -> Result<OfKey, NoKey> {
    choose(store, target, recipients).await.map(|chosen| chosen.of)
}

/// A key that somebody with more rights has chosen.
pub(crate) fn given(of: &OfKey) -> Result<Chosen, NoKey> {
    let recipient = of.key.parse::<Recipient>().map_err(|_| NoKey::NotMade(format!("`{}` is no public key", of.key)))?;
    Ok(Chosen { of: of.clone(), recipient })
}

/// The target's key, or a new one.
pub(crate) async fn choose(store: &Store, target: &Target, recipients: &Recipients) -> Result<Chosen, NoKey> {
    let listed = store.list(&target.to_string()).await?;
    let there: Vec<Beside> = listed.iter().filter_map(|listed| beside(&listed.name)).filter(|(of, _)| of == target).map(|(_, one)| one).collect();
    let mut described: Vec<u32> =
        there.iter().filter_map(|one| if let Beside::Public(generation) = one { Some(*generation) } else { None }).collect();
    // What was declared destroyed is not used, should it be there again.
    let erased = there.iter().filter_map(|one| if let Beside::Erased(generation) = one { Some(*generation) } else { None }).max();
    described.retain(|generation| erased.is_none_or(|erased| *generation > erased));
    described.sort_unstable();
    if let Some(voucher) = recipients.voucher() {
        for generation in described.into_iter().rev().take(LOOKED_AT) {
            if let Some(chosen) = usable(store, target, generation, recipients, voucher).await? {
                return Ok(chosen);
            }
        }
    }
    // A number that was used once is never used for another key.
    let newest = there.iter().map(|one| one.generation()).max().unwrap_or_default();
    for generation in (1..=TRIES).filter_map(|next| newest.checked_add(next)) {
        if let Some(chosen) = make(store, target, generation, recipients).await? {
            return Ok(chosen);
        }
        // Somebody else was faster: theirs is as good, if it can be used.
        let Some(voucher) = recipients.voucher() else { continue };
        if let Some(chosen) = usable(store, target, generation, recipients, voucher).await? {
            return Ok(chosen);
        }
    }
    Err(NoKey::NotMade(format!("{TRIES} times somebody else was faster, at {target}")))
}

/// A key that is there, if it is whole, opened by the same, and vouched for.
async fn usable(store: &Store, target: &Target, generation: u32, recipients: &Recipients, voucher: &Voucher) -> Result<Option<Chosen>, NoKey> {
    let object = Beside::Public(generation).of(target);
    let Some(bytes) = store.read(&object, SECRET_MAX).await? else { return Ok(None) };
    let Ok(record) = manifest::read::<KeyRecord>(&bytes) else { return Ok(None) };
    let is_it = record.target == *target && record.generation == generation && record.recipients == recipients.who_can_open();
    if !is_it || record.holds(voucher.known.as_ref()).is_err() {
        return Ok(None);
    }
    let Ok(recipient) = record.key.parse::<Recipient>() else { return Ok(None) };
    let secret = store.read(&Beside::Secret(generation).of(target), SECRET_MAX).await?;
    if secret.is_none_or(|secret| digest(&secret) != record.secret.sha256) {
        return Ok(None);
    }
    Ok(Some(Chosen { of: OfKey { generation, key: record.key, sha256: record.secret.sha256 }, recipient }))
}

/// Makes a key; nothing where somebody else has made one of this number.
async fn make(store: &Store, target: &Target, generation: u32, recipients: &Recipients) -> Result<Option<Chosen>, NoKey> {
    let (identity, file) = Identities::generate();
    let no_public = || NoKey::NotMade("it has no public half".to_owned());
    let recipient = identity.recipient().ok_or_else(no_public)?;
    let secret = seal(age::secrecy::ExposeSecret::expose_secret(&file), recipients).map_err(|error| NoKey::NotMade(error.to_string()))?;
    let object = Beside::Secret(generation).of(target);
    // Where a store overwrites, one that is there is not written over by somebody who has slept since it looked.
    if store.read(&object, SECRET_MAX).await?.is_some() || store.create(&object, &secret).await? == Created::Exists {
        return Ok(None);
    }
    // Where a store overwrites, the later of two is found here by the earlier.
    let there = store.version(&object, None, SECRET_MAX).await?.ok_or_else(|| NoKey::Lost(object.clone()))?;
    if there.bytes != secret {
        return Ok(None);
    }
    let mut record = KeyRecord {
        version: VERSION,
        target: target.clone(),
        generation,
        key: recipient.to_string(),
        secret: Sum { bytes: secret.len() as u64, sha256: digest(&secret) },
        stored_version: there.version,
        recipients: recipients.who_can_open(),
        vouched: None,
    };
    if let Some(voucher) = recipients.voucher() {
        let (signer, signature) = signed(voucher.sign.as_ref(), |signer| record.message(signer)).map_err(NoKey::NotMade)?;
        record.vouched = Some(Vouched { signer, signature });
    }
    let object = Beside::Public(generation).of(target);
    let bytes = manifest::bytes_of(&record)?;
    store.create(&object, &bytes).await?;
    if store.read(&object, SECRET_MAX).await?.is_none_or(|there| there != bytes) {
        return Err(NoKey::Lost(object));
    }
    Ok(Some(Chosen { of: OfKey { generation, key: record.key, sha256: record.secret.sha256 }, recipient }))
}

/// Encrypts the file of a key to all who can open it.
fn seal(file: &str, recipients: &Recipients) -> std::io::Result<Vec<u8>> {
    let keys = recipients.keys().map(|key| key as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(keys).map_err(|error| std::io::Error::other(error.to_string()))?;
    let mut sealed = Vec::new();
    let mut into = encryptor.wrap_output(&mut sealed)?;
    into.write_all(file.as_bytes())?;
    into.finish()?;
    Ok(sealed)
}

/// What opens the parts of a backup, by these keys: themselves, or the target's key that they open.
pub(crate) async fn opened(store: &Store, of: &Manifest, keys: &Identities) -> Result<Identities, Damage> {
    let Some(key) = &of.key else { return Ok(keys.clone()) };
    let public = keys.public();
    let is_check = of.recipients.iter().any(|one| one.role == Role::Check && public.contains(&one.key));
    if is_check || public.contains(&key.key) {
        return Ok(keys.clone());
    }
    let object = Beside::Secret(key.generation).of(&of.backup.target);
    let sealed = there(store, &object, key).await?;
    let changed = |what| Damage::Changed { object: object.clone(), what };
    let opened = age::Decryptor::new_buffered(&sealed[..]).and_then(|decryptor| decryptor.decrypt(keys.all()));
    let mut opened = match opened {
        Ok(opened) => opened,
        Err(age::DecryptError::NoMatchingKeys) => return Err(Damage::WrongKey { object: object.clone(), to: in_words(&of.recipients) }),
        Err(_) => return Err(changed("its header")),
    };
    let mut file = Zeroizing::new(String::new());
    opened.read_to_string(&mut file).map_err(|_| changed("what is in it"))?;
    let secret = Identities::read(&file).map_err(|_| changed("the key in it"))?;
    if secret.public().contains(&key.key) { Ok(secret) } else { Err(changed("the key in it")) }
}

/// Is the target's key there that a backup needs, and the one that it was encrypted to?
pub(crate) async fn intact(store: &Store, target: &Target, key: &OfKey) -> Result<(), Damage> {
    there(store, &Beside::Secret(key.generation).of(target), key).await.map(drop)
}

async fn there(store: &Store, object: &str, key: &OfKey) -> Result<bytes::Bytes, Damage> {
    let sealed = store.read(object, SECRET_MAX).await?.ok_or_else(|| Damage::Missing { object: object.to_owned() })?;
    if digest(&sealed) == key.sha256 { Ok(sealed) } else { Err(Damage::Changed { object: object.to_owned(), what: "its checksum" }) }
}

#[cfg(test)]
mod tests;
