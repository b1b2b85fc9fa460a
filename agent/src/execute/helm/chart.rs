//! Which chart, and whether this agent lets helm go there.
//!
//! Where a chart comes from is looked at before helm is called, as every address that a step names. helm then resolves
//! the name anew and follows redirects by itself: what a name means a moment later is not looked at.

use std::path::{Component, Path, PathBuf};

use http::Uri;

use super::super::{Context, OutgoingError, StepError};

/// A chart as helm takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chart {
    place: String,
    repository: Option<String>,
    version: Option<String>,
    /// Host and port that it comes from; nothing where it is on this machine.
    from: Option<(String, u16)>,
}

impl Chart {
    /// # Errors
    /// Refused: what is neither an address, nor a name, nor a path below the agent's own charts.
    pub fn of(kind: &str, chart: &str, repository: Option<&str>, version: Option<&str>, charts: Option<&PathBuf>) -> Result<Chart, StepError> {
        let refused = |why: &str| StepError::refused(format!("{kind}: the chart `{chart}` {why}"));
        let address = |text: &str| -> Result<(String, u16), StepError> {
            let uri: Uri = text.parse().map_err(|_| refused("is of no address that can be read"))?;
            let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
            let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| refused("names no host"))?;
            Ok((host.to_owned(), port))
        };
        let (place, from) = match repository {
            _ if chart.starts_with('-') => return Err(refused("begins with a hyphen")),
            Some(_) if chart.contains(['/', ':']) => return Err(refused("is a name in the repository: without / and :")),
            Some(repository) => (chart.to_owned(), Some(address(repository)?)),
            None if ["oci://", "https://", "http://"].iter().any(|scheme| chart.starts_with(scheme)) => (chart.to_owned(), Some(address(chart)?)),
            None => {
                let charts = charts.ok_or_else(|| {
                    refused("is a path, and this agent has no charts: oci://…, https://…, a name with `repository`, or  helm_charts = \"/charts\"  in its settings")
                })?;
                let path = Path::new(chart);
                if chart.is_empty() || !path.components().all(|part| matches!(part, Component::Normal(_))) {
                    return Err(refused("is no path below the agent's folder of charts"));
                }
                (charts.join(path).display().to_string(), None)
            }
        };
        Ok(Chart { place, repository: repository.map(str::to_owned), version: version.map(str::to_owned), from })
    }

    /// The last of helm's arguments.
    pub fn place(&self) -> String {
        self.place.clone()
    }

    pub fn options(&self) -> Vec<String> {
        let options = [("--repo", &self.repository), ("--version", &self.version)];
        options.into_iter().filter_map(|(flag, value)| value.as_ref().map(|value| format!("{flag}={value}"))).collect()
    }

    /// # Errors
    /// Refused where its host is this machine, a metadata service, or what else steps do not reach.
    pub async fn may_be_reached(&self, kind: &str, context: &Context) -> Result<(), StepError> {
        let Some((host, port)) = &self.from else { return Ok(()) };
        match context.outgoing.resolve(host, *port).await {
            Err(error @ OutgoingError::Refused { .. }) => Err(StepError::refused(format!("{kind}: the chart's {error}"))),
            // Behind a proxy names may mean nothing here: helm says what becomes of it.
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn chart(chart: &str, repository: Option<&str>) -> Result<Chart, String> {
        Chart::of("k", chart, repository, Some("1.2.3"), Some(&"/charts".into())).map_err(|error| error.message)
    }

    #[test]
    fn a_chart_is_an_address_a_name_or_a_path_below_the_agents_own() {
        let oci = chart("oci://r.example.com:5000/charts/web", None).unwrap();
        assert_eq!((oci.place().as_str(), oci.from.clone()), ("oci://r.example.com:5000/charts/web", Some(("r.example.com".to_owned(), 5000))));
        assert_eq!(oci.options(), ["--version=1.2.3"]);
        let named = chart("web", Some("https://charts.example.com/stable")).unwrap();
        assert_eq!((named.place().as_str(), named.from.clone()), ("web", Some(("charts.example.com".to_owned(), 443))));
        assert_eq!(named.options(), ["--repo=https://charts.example.com/stable", "--version=1.2.3"]);
        let own = chart("shop/web", None).unwrap();
        assert_eq!((own.place().as_str(), own.from), ("/charts/shop/web", None));
        for (bad, repository, part) in [
            ("../etc", None, "is no path below"),
            ("/etc/web", None, "is no path below"),
            ("", None, "is no path below"),
            ("--post-renderer=/bin/sh", None, "begins with a hyphen"),
            ("shop/web", Some("https://charts.example.com"), "is a name in the repository"),
            ("oci://", None, "names no host"),
        ] {
            let error = chart(bad, repository).unwrap_err();
            assert!(error.contains(part) || error.contains("of no address"), "{bad}: {error}");
        }
        let without = Chart::of("k", "web", None, None, None).unwrap_err().message;
        assert!(without.contains("helm_charts = "), "{without}");
    }

    #[tokio::test]
    async fn what_steps_do_not_reach_helm_does_not_either() {
        let context = Context::new(Default::default(), Default::default(), Default::default(), Default::default()).unwrap();
        for host in ["http://169.254.169.254/web-1.tgz", "oci://127.0.0.1:5000/web"] {
            let error = chart(host, None).unwrap().may_be_reached("k", &context).await.unwrap_err();
            assert!(error.message.contains("allow_addresses"), "{error}");
        }
        assert!(chart("web", None).unwrap().may_be_reached("k", &context).await.is_ok());
    }
}
