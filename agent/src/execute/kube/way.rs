//! Where a Service, an Ingress or an HTTPRoute leads, and what changes when it is to lead elsewhere. Pure.
//!
//! All three are looked at in one way: places in the object, each a JSON pointer with a name at it. A Service has one, its
//! selector's label; the others have one for each Service that they name.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::work::text;

/// Largest weight of a backend, as the Gateway API has it.
const WEIGHT_MAX: u64 = 1_000_000;

/// What leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Kind {
    Service,
    Ingress,
    #[serde(rename = "HTTPRoute")]
    HttpRoute,
}

/// What leads, and by what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    pub kind: Kind,
    /// Of a Service's selector.
    pub label: String,
}

/// The name at each place; none where a selector does not have the label.
pub type Places = BTreeMap<String, Option<String>>;

impl Kind {
    /// Version of its API, and its name there.
    pub fn api(self) -> (&'static str, &'static str) {
        match self {
            Kind::Service => ("v1", "Service"),
            Kind::Ingress => ("networking.k8s.io/v1", "Ingress"),
            Kind::HttpRoute => ("gateway.networking.k8s.io/v1", "HTTPRoute"),
        }
    }
}

impl Way {
    /// Every place of an object that says where it leads.
    pub fn places(&self, object: &Value) -> Places {
        match self.kind {
            Kind::Service => {
                let pointer = format!("/spec/selector/{}", self.label.replace('~', "~0").replace('/', "~1"));
                let name = object.pointer(&pointer).and_then(Value::as_str).map(str::to_owned);
                [(pointer, name)].into()
            }
            Kind::Ingress => {
                let rules = list(object, "/spec/rules").enumerate().flat_map(|(i, rule)| {
                    list(rule, "/http/paths").enumerate().map(move |(j, _)| format!("/spec/rules/{i}/http/paths/{j}/backend/service/name"))
                });
                named(object, ["/spec/defaultBackend/service/name".to_owned()].into_iter().chain(rules))
            }
            Kind::HttpRoute => {
                let own = text(object, "/metadata/namespace");
                let is_own_service = |backend: &Value| {
                    let or = |field: &str, usual: &str| backend[field].as_str().unwrap_or(usual).to_owned();
                    or("kind", "Service") == "Service" && or("group", "").is_empty() && or("namespace", own) == own
                };
                let rules = list(object, "/spec/rules").enumerate().flat_map(|(i, rule)| {
                    let backends = list(rule, "/backendRefs").enumerate().filter(|(_, backend)| is_own_service(backend));
                    backends.map(move |(j, _)| format!("/spec/rules/{i}/backendRefs/{j}/name")).collect::<Vec<_>>()
                });
                named(object, rules)
            }
        }
    }

    /// What of the object its places are in: this is to be as the step left it when it is taken back.
    pub fn part(&self, object: &Value) -> Value {
        let spec = |field: &str| object["spec"][field].clone();
        match self.kind {
            Kind::Service => spec("selector"),
            Kind::Ingress => json!([spec("defaultBackend"), spec("rules")]),
            Kind::HttpRoute => spec("rules"),
        }
    }

    /// The object with other names at these places.
    pub fn led(&self, object: &Value, names: &Places) -> Value {
        let mut object = object.clone();
        for (pointer, name) in names {
            match (self.kind, name) {
                (Kind::Service, name) => {
                    if !object["spec"]["selector"].is_object() {
                        object["spec"]["selector"] = json!({});
                    }
                    if let Some(selector) = object["spec"]["selector"].as_object_mut() {
                        match name {
                            Some(name) => selector.insert(self.label.clone(), json!(name)),
                            None => selector.remove(&self.label),
                        };
                    }
                }
                (_, Some(name)) => {
                    if let Some(place) = object.pointer_mut(pointer) {
                        *place = json!(name);
                    }
                }
                (_, None) => {}
            }
        }
        object
    }

    /// An HTTPRoute in which `to` has `percent` of the traffic of each backend at these places, and all others have what
    /// they had: weights are relative, so each is multiplied first.
    ///
    /// # Errors
    /// Where `to` is a backend already, or a weight is too large for that.
    pub fn shared(&self, object: &Value, places: &Places, to: &str, percent: u8) -> Result<Value, String> {
        let others = self.places(object).into_values().flatten().any(|name| name == to);
        if others {
            return Err(format!("{to} is one of its backends already: take it out first, so that what it is to have of the traffic can be said"));
        }
        let mut object = object.clone();
        let rules: BTreeSet<&str> = places.keys().filter_map(|pointer| pointer.split_once("/backendRefs/")).map(|(rule, _)| rule).collect();
        for rule in rules {
            let Some(backends) = object.pointer_mut(&format!("{rule}/backendRefs")).and_then(Value::as_array_mut) else { continue };
            let mut added = Vec::new();
            for (at, backend) in backends.iter_mut().enumerate() {
                let weight = backend["weight"].as_u64().unwrap_or(1);
                let of = |share: u64| -> Result<Value, String> {
                    let scaled = weight * share;
                    if scaled > WEIGHT_MAX {
                        return Err(format!("a backend of it has the weight {weight}: let weights be below {}", WEIGHT_MAX / 100));
                    }
                    Ok(json!(scaled))
                };
                let percent = u64::from(percent);
                if places.contains_key(&format!("{rule}/backendRefs/{at}/name")) {
                    let mut new = backend.clone();
                    (new["name"], new["weight"]) = (json!(to), of(percent)?);
                    added.push(new);
                    backend["weight"] = of(100 - percent)?;
                } else {
                    backend["weight"] = of(100)?;
                }
            }
            backends.append(&mut added);
        }
        Ok(object)
    }

    /// What to send so that an object leads as `led` does.
    pub fn fields(&self, led: &Value) -> Value {
        let spec = &led["spec"];
        let given = |fields: &[&str]| -> Map<String, Value> {
            fields.iter().filter(|field| !spec[**field].is_null()).map(|field| ((*field).to_owned(), spec[*field].clone())).collect()
        };
        match self.kind {
            // A label that is not in the selector any more has to be said to be gone.
            Kind::Service => json!({ "selector": { (self.label.as_str()): spec["selector"].get(&self.label).cloned().unwrap_or(Value::Null) } }),
            Kind::Ingress => Value::Object(given(&["defaultBackend", "rules"])),
            Kind::HttpRoute => Value::Object(given(&["rules"])),
        }
    }

    /// Which of several it leads to; empty for none of them. What a Service has at its label counts in any case.
    ///
    /// # Errors
    /// When it leads to more than one of them: whose turn it is, nobody can say.
    pub fn live(&self, object: &Value, of: &[String]) -> Result<String, String> {
        let places = self.places(object);
        let names: BTreeSet<&str> =
            places.values().flatten().map(String::as_str).filter(|name| self.kind == Kind::Service || of.iter().any(|one| one == name)).collect();
        match names.len() {
            0 | 1 => Ok(names.first().copied().unwrap_or_default().to_owned()),
            _ => Err(format!("it leads to {}: let it lead to one of them by hand first", listed(&names))),
        }
    }

    /// All that it leads to, in words.
    pub fn in_words(&self, object: &Value) -> String {
        let places = self.places(object);
        let names: BTreeSet<&str> = places.values().flatten().map(String::as_str).collect();
        if names.is_empty() { "nobody by that".to_owned() } else { listed(&names) }
    }
}

/// The pods that a Service leads to, as a label selector; nothing where it has none.
pub fn selector(service: &Value) -> Option<String> {
    let labels = service.pointer("/spec/selector")?.as_object()?;
    let pairs: Vec<String> = labels.iter().filter_map(|(name, value)| Some(format!("{name}={}", value.as_str()?))).collect();
    (!pairs.is_empty()).then(|| pairs.join(","))
}

fn list<'o>(object: &'o Value, pointer: &str) -> impl Iterator<Item = &'o Value> {
    object.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn named(object: &Value, pointers: impl Iterator<Item = String>) -> Places {
    let name = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    pointers.filter_map(|pointer| name(&pointer).map(|name| (pointer, Some(name)))).collect()
}

fn listed(names: &BTreeSet<&str>) -> String {
    names.iter().copied().collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(kind: Kind) -> Way {
        Way { kind, label: "shop.example/colour".to_owned() }
    }

    fn at(places: &Places, name: Option<&str>) -> Places {
        places.keys().map(|pointer| (pointer.clone(), name.map(str::to_owned))).collect()
    }

    #[test]
    fn a_service_leads_by_one_label_of_its_selector() {
        let service = json!({ "kind": "Service", "spec": { "selector": { "app": "web", "shop.example/colour": "blue" } } });
        let way = way(Kind::Service);
        let of = ["blue".to_owned(), "green".to_owned()];
        assert_eq!(way.live(&service, &of).as_deref(), Ok("blue"));
        assert_eq!(selector(&service).as_deref(), Some("app=web,shop.example/colour=blue"));
        let green = way.led(&service, &at(&way.places(&service), Some("green")));
        assert_eq!(green["spec"]["selector"], json!({ "app": "web", "shop.example/colour": "green" }));
        assert_eq!(way.fields(&green), json!({ "selector": { "shop.example/colour": "green" } }));
        let none = way.led(&green, &at(&way.places(&green), None));
        assert_eq!((way.live(&none, &of).as_deref(), way.fields(&none)), (Ok(""), json!({ "selector": { "shop.example/colour": null } })));
        let other = json!({ "spec": { "selector": { "shop.example/colour": "red" } } });
        assert_eq!(way.live(&other, &of).as_deref(), Ok("red"), "it is live, whatever takes turns");
        assert_eq!(selector(&json!({ "spec": {} })), None);
    }

    #[test]
    fn an_ingress_leads_by_the_services_that_it_names() {
        let backend = |name: &str| json!({ "service": { "name": name, "port": { "number": 80 } } });
        let path = |name: &str| json!({ "path": "/", "backend": backend(name) });
        let ingress = json!({ "spec": { "defaultBackend": backend("web-blue"), "rules": [{ "host": "a", "http": { "paths": [path("web-blue"), path("api")] } }, { "host": "b" }] } });
        let way = way(Kind::Ingress);
        let of = ["web-blue".to_owned(), "web-green".to_owned()];
        assert_eq!((way.live(&ingress, &of).as_deref(), way.in_words(&ingress).as_str()), (Ok("web-blue"), "api and web-blue"));
        let blue: Places = way.places(&ingress).into_iter().filter(|(_, name)| name.as_deref() == Some("web-blue")).collect();
        let green = way.led(&ingress, &at(&blue, Some("web-green")));
        assert_eq!(way.live(&green, &of).as_deref(), Ok("web-green"));
        let fields = way.fields(&green);
        assert_eq!((&fields["defaultBackend"], &fields["rules"][0]["http"]["paths"][1]), (&backend("web-green"), &path("api")));
        let half = way.led(&ingress, &[("/spec/defaultBackend/service/name".to_owned(), Some("web-green".to_owned()))].into());
        assert!(way.live(&half, &of).is_err_and(|why| why.contains("it leads to web-blue and web-green")));
        assert_eq!(way.live(&json!({ "spec": {} }), &of).as_deref(), Ok(""));
    }

    #[test]
    fn a_route_leads_by_its_backends_in_its_own_namespace() {
        let route = json!({ "metadata": { "namespace": "shop" }, "spec": { "rules": [
            { "backendRefs": [{ "name": "web-blue", "port": 80 }, { "name": "web-blue", "namespace": "other" }, { "name": "web-blue", "kind": "Bucket" }] },
        ] } });
        let way = way(Kind::HttpRoute);
        let places = way.places(&route);
        assert_eq!(places, [("/spec/rules/0/backendRefs/0/name".to_owned(), Some("web-blue".to_owned()))].into());
        let green = way.led(&route, &at(&places, Some("web-green")));
        let backends = &way.fields(&green)["rules"][0]["backendRefs"];
        assert_eq!((&backends[0], &backends[1]["name"]), (&json!({ "name": "web-green", "port": 80 }), &json!("web-blue")));
    }
    #[test]
    fn a_share_of_a_routes_traffic_leaves_the_others_what_they_had() {
        let route = json!({ "metadata": { "namespace": "shop" }, "spec": { "rules": [
            { "backendRefs": [{ "name": "web-blue", "port": 80, "weight": 3 }, { "name": "api", "port": 81 }] },
            { "backendRefs": [{ "name": "web-blue", "port": 80 }] },
            { "backendRefs": [{ "name": "api", "port": 81 }] },
        ] } });
        let way = way(Kind::HttpRoute);
        let blue: Places = way.places(&route).into_iter().filter(|(_, name)| name.as_deref() == Some("web-blue")).collect();
        let shared = way.shared(&route, &blue, "web-green", 10).unwrap();
        assert_eq!(
            shared["spec"]["rules"],
            json!([
                { "backendRefs": [
                    { "name": "web-blue", "port": 80, "weight": 270 }, { "name": "api", "port": 81, "weight": 100 }, { "name": "web-green", "port": 80, "weight": 30 },
                ] },
                { "backendRefs": [{ "name": "web-blue", "port": 80, "weight": 90 }, { "name": "web-green", "port": 80, "weight": 10 }] },
                { "backendRefs": [{ "name": "api", "port": 81 }] },
            ])
        );
        assert!(way.shared(&shared, &blue, "web-green", 20).is_err_and(|why| why.contains("is one of its backends already")));
        let heavy =
            json!({ "metadata": { "namespace": "shop" }, "spec": { "rules": [{ "backendRefs": [{ "name": "web-blue", "weight": 1_000_000 }] }] } });
        let places: Places = [("/spec/rules/0/backendRefs/0/name".to_owned(), Some("web-blue".to_owned()))].into();
        assert!(way.shared(&heavy, &places, "web-green", 10).is_err_and(|why| why.contains("the weight 1000000")));
    }
}
