use super::*;

#[test]
fn names_keep_to_their_grammar() {
    for good in ["a", "daily", "node-1.example", "0"] {
        assert!(good.parse::<PlanName>().is_ok(), "{good}");
    }
    for bad in ["", "-a", "a-", "A", "a/b", "a b", "ä", &"a".repeat(64), "a\n", ".."] {
        assert!(bad.parse::<PlanName>().is_err(), "{bad}");
    }
}

#[test]
fn ids_survive_text() {
    assert_eq!("blue-green-12".parse::<RunId>().map(|r| r.to_string()), Ok("blue-green-12".into()));
    assert_eq!("prod/n1".parse::<Target>().map(|t| t.to_string()), Ok("prod/n1".into()));
    assert_eq!("once".parse::<Target>(), Ok(Target::Once));
    assert_eq!("cluster:prod".parse::<Target>(), Ok(Target::Cluster("prod".parse().unwrap())));
    assert!("prod/agent/r1".parse::<Target>().is_err(), "a cluster is the target, and not one of its agents");
    let replica: AgentId = "prod/agent/r1".parse().unwrap();
    assert!(replica.is_replica() && replica.to_string() == "prod/agent/r1" && replica.name() == "agent/r1");
    let hands: AgentId = "prod/hands/n1".parse().unwrap();
    assert!(hands.is_hands() && hands.to_string() == "prod/hands/n1" && hands.name() == "hands/n1");
    assert_eq!(hands.on_node().map(NodeName::as_str), Some("n1"));
    assert!(!hands.is_node() && !hands.is_replica() && "prod/hands/n1".parse::<Target>().is_err(), "a target is the node itself");
    assert!("prod/hands/".parse::<AgentId>().is_err() && "prod/hands".parse::<AgentId>().is_ok_and(|agent| agent.is_node()));
    assert!(["prod/agent/", "prod/agent/r1/x", "prod/n1/x"].iter().all(|text| text.parse::<AgentId>().is_err()));
    assert_eq!("connection:orders-db".parse::<Target>().map(|t| t.to_string()), Ok("connection:orders-db".into()));
    assert!("connection:".parse::<Target>().is_err() && "connection:a/b".parse::<Target>().is_err());
    assert_eq!("3.14".parse::<Token>(), Ok(Token(Serial { incarnation: 3, counter: 14 })));
    assert_eq!("00000000000000ff".parse::<MemberId>(), Ok(MemberId(255)));
    for bad in ["daily", "daily-", "-1", "daily-x", "Daily-1"] {
        assert!(bad.parse::<RunId>().is_err(), "{bad}");
    }
}

#[test]
fn tokens_grow_across_incarnations() {
    let token = |incarnation, counter| Token(Serial { incarnation, counter });
    assert!(token(2, 1) > token(1, 999));
    assert!(token(2, 2) > token(2, 1));
}

#[test]
fn a_lease_name_says_whose_it_is() {
    let name = |text: &str| text.parse::<LeaseName>().unwrap();
    assert_eq!(name("node/prod/n1").owner(), LeaseOwner::Mesh("node"));
    assert_eq!(name("client/ci/deploy").owner(), LeaseOwner::Client("ci"));
    assert_eq!(name("demo").owner(), LeaseOwner::Operators);
    for bad in ["", "/", "a/", "/a", "a//b", "a b", "a/../\n"] {
        assert!(bad.parse::<LeaseName>().is_err(), "{bad:?}");
    }
}
