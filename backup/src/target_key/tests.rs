use std::path::Path;
use std::sync::Arc;

use futures::future::join_all;
use object_store::memory::InMemory;

use super::*;
use crate::receipt::SigningKey;

/// Who makes backups: whose keys open them, and whose word counts.
struct Maker {
    drill: Identities,
    sign: Arc<SigningKey>,
}

impl Maker {
    fn new() -> Maker {
        let sign = SigningKey::read(&SigningKey::generate().unwrap(), Path::new("here")).unwrap();
        Maker { drill: Identities::generate().0, sign: Arc::new(sign) }
    }

    fn unvouched(&self) -> Recipients {
        Recipients::read([(Role::Drill, self.drill.public()[0].as_str())]).unwrap()
    }

    fn recipients(&self) -> Recipients {
        self.unvouched().vouched_by(self.sign.clone(), Arc::new(vec![self.sign.public()]))
    }
}

fn target() -> Target {
    "prod/orders-db".parse().unwrap()
}

fn store() -> Store {
    Store::of(Arc::new(InMemory::new()), "memory")
}

async fn chosen(store: &Store, recipients: &Recipients) -> OfKey {
    choose(store, &target(), recipients).await.unwrap().of
}

async fn replace(store: &Store, object: Beside, bytes: &[u8]) {
    store.remove(&object.of(&target())).await.unwrap();
    store.create(&object.of(&target()), bytes).await.unwrap();
}

async fn record(store: &Store, generation: u32) -> KeyRecord {
    let bytes = store.read(&Beside::Public(generation).of(&target()), SECRET_MAX).await.unwrap().unwrap();
    manifest::read(&bytes).unwrap()
}

#[tokio::test]
async fn there_is_one_key_for_all_backups_of_a_target() {
    let (store, maker) = (store(), Maker::new());
    let first = chosen(&store, &maker.recipients()).await;
    assert_eq!(first.generation, 1);
    assert_eq!(chosen(&store, &maker.recipients()).await, first);
    assert_eq!(record(&store, 1).await.holds(&vec![maker.sign.public()]), Ok(()));
    let names: Vec<String> = store.list("").await.unwrap().into_iter().map(|listed| listed.name).collect();
    assert_eq!(names, ["prod/orders-db/key-1.age", "prod/orders-db/key-1.json"]);
    let other = choose(&store, &"prod/cache".parse().unwrap(), &maker.recipients()).await.unwrap();
    assert_ne!(other.of.key, first.key);
}

/// Each has a key that is in the store, whoever was faster.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_races_for_it_has_a_key_that_is_there() {
    for _ in 0..20 {
        let (store, maker) = (store(), Maker::new());
        let racing = (0..4).map(|_| {
            let (store, recipients) = (store.clone(), maker.recipients());
            tokio::spawn(async move { choose(&store, &target(), &recipients).await.unwrap().of })
        });
        for of in join_all(racing).await {
            let of = of.unwrap();
            intact(&store, &target(), &of).await.unwrap();
        }
        let settled = chosen(&store, &maker.recipients()).await;
        assert_eq!(chosen(&store, &maker.recipients()).await, settled, "nobody makes another one");
    }
}

#[tokio::test]
async fn who_opens_other_backups_gets_another_key() {
    let (store, maker) = (store(), Maker::new());
    let first = chosen(&store, &maker.recipients()).await;
    let glass = Identities::generate().0;
    let both = [(Role::BreakGlass, glass.public()[0].clone()), (Role::Drill, maker.drill.public()[0].clone())];
    let both = Recipients::read(both.iter().map(|(role, key)| (*role, key.as_str()))).unwrap();
    let both = both.vouched_by(maker.sign.clone(), Arc::new(vec![maker.sign.public()]));
    let second = chosen(&store, &both).await;
    assert_eq!((first.generation, second.generation), (1, 2));
    assert_eq!(record(&store, 2).await.recipients.len(), 2);
    // Each goes on with their own, so that two who differ do not make a key at each backup.
    assert_eq!((chosen(&store, &maker.recipients()).await, chosen(&store, &both).await), (first, second));
}

/// Whoever may write to the store could have all later backups encrypted to themselves.
#[tokio::test]
async fn a_key_that_nobody_vouches_for_is_not_used() {
    let (store, maker, stranger) = (store(), Maker::new(), Maker::new());
    let first = chosen(&store, &maker.recipients()).await;
    let theirs = Identities::generate().0.public().remove(0);
    let good = record(&store, 1).await;
    let put = async |record: &KeyRecord| replace(&store, Beside::Public(1), &manifest::bytes_of(record).unwrap()).await;
    put(&KeyRecord { key: theirs.clone(), ..good.clone() }).await;
    assert_eq!(chosen(&store, &maker.recipients()).await.generation, 2, "it was vouched for with another key");
    put(&KeyRecord { vouched: None, ..good.clone() }).await;
    replace(&store, Beside::Public(2), b"{}").await;
    assert_eq!(chosen(&store, &maker.recipients()).await.generation, 3);
    let mut forged = KeyRecord { key: theirs, ..good.clone() };
    let (signer, signature) = signed(&*stranger.sign, |signer| forged.message(signer)).unwrap();
    forged.vouched = Some(Vouched { signer, signature });
    put(&forged).await;
    replace(&store, Beside::Public(3), b"{}").await;
    assert_eq!(chosen(&store, &maker.recipients()).await.generation, 4, "a stranger's word does not count");
    put(&good).await;
    store.remove(&Beside::Public(4).of(&target())).await.unwrap();
    assert_eq!(chosen(&store, &maker.recipients()).await, first);
    // Where nobody vouches at all, each backup has its own.
    assert_eq!(chosen(&store, &maker.unvouched()).await.generation, 5);
    assert_eq!(chosen(&store, &maker.unvouched()).await.generation, 6);
}

#[tokio::test]
async fn a_key_that_is_gone_or_exchanged_is_not_used() {
    let (store, maker) = (store(), Maker::new());
    chosen(&store, &maker.recipients()).await;
    store.remove(&Beside::Secret(1).of(&target())).await.unwrap();
    assert_eq!(chosen(&store, &maker.recipients()).await.generation, 2);
    replace(&store, Beside::Secret(2), b"another").await;
    assert_eq!(chosen(&store, &maker.recipients()).await.generation, 3);
    // A number that was used is not used again, whatever is left of it.
    for object in [Beside::Secret(3), Beside::Public(3), Beside::Public(2)] {
        store.remove(&object.of(&target())).await.unwrap();
    }
    assert_eq!(chosen(&store, &maker.recipients()).await.generation, 3, "nothing was left of the third");
    store.remove(&Beside::Public(3).of(&target())).await.unwrap();
    assert_eq!(chosen(&store, &maker.recipients()).await.generation, 4);
}
