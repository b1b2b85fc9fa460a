//! Objects of one namespace, made by the pod that this process runs in.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Config};
use serde_json::Value;

use crate::error::CliError;

/// Whose objects they are, where two change one.
const MANAGER: &str = "mainstay-init";

/// A way to them.
pub struct Secrets {
    namespace: String,
    secrets: Api<Secret>,
    maps: Api<ConfigMap>,
}

impl Secrets {
    /// As this pod's ServiceAccount.
    pub fn of_this_pod(namespace: &str) -> Result<Secrets, CliError> {
        let no_way = |error: &dyn std::fmt::Display| {
            CliError::failed(format!("the way to the cluster is not known: {error}"))
                .with_next("this runs in a pod; anywhere else:  mainstay init-cluster … --print --root-key FILE | kubectl apply -f -")
        };
        let config = Config::incluster().map_err(|error| no_way(&error))?;
        let client = Client::try_from(config).map_err(|error| no_way(&error))?;
        Ok(Secrets { namespace: namespace.to_owned(), secrets: Api::namespaced(client.clone(), namespace), maps: Api::namespaced(client, namespace) })
    }

    /// What a Secret holds; nothing where there is none.
    pub async fn read(&self, name: &str) -> Result<Option<BTreeMap<String, String>>, CliError> {
        let found = self.secrets.get_opt(name).await.map_err(|error| self.failed(name, &error))?;
        let text = |(key, value): (String, k8s_openapi::ByteString)| (key, String::from_utf8_lossy(&value.0).into_owned());
        Ok(found.map(|secret| secret.data.unwrap_or_default().into_iter().map(text).collect()))
    }

    /// Makes a Secret that must not be there.
    pub async fn create(&self, object: &Value, made: &mut Vec<String>) -> Result<(), CliError> {
        let (name, secret) = (name_of(object), self.typed::<Secret>(object)?);
        self.secrets.create(&PostParams::default(), &secret).await.map_err(|error| self.failed(&name, &error))?;
        made.push(name);
        Ok(())
    }

    /// Makes an object, or has it as it is here.
    pub async fn replace(&self, object: &Value, made: &mut Vec<String>) -> Result<(), CliError> {
        let name = name_of(object);
        let (params, patch) = (PatchParams::apply(MANAGER).force(), Patch::Apply(object));
        let answer = if object["kind"] == "ConfigMap" {
            self.maps.patch(&name, &params, &patch).await.map(drop)
        } else {
            self.secrets.patch(&name, &params, &patch).await.map(drop)
        };
        answer.map_err(|error| self.failed(&name, &error))?;
        made.push(name);
        Ok(())
    }

    fn typed<T: serde::de::DeserializeOwned>(&self, object: &Value) -> Result<T, CliError> {
        serde_json::from_value(object.clone()).map_err(|error| CliError::failed(format!("{}: {error}", name_of(object))))
    }

    fn failed(&self, name: &str, error: &kube::Error) -> CliError {
        CliError::failed(format!("{}/{name}: {error}", self.namespace))
    }
}

fn name_of(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}
