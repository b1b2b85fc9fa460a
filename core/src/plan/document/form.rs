//! Texts that keep to a form: names, times, zones.

use super::check::shortened;
use super::shape::Form;
use crate::backup::BackupTarget;
use crate::id::{LABEL_RULE, LeaseName, LeaseOwner, NAME_MAX, NameError, PlanName, StepName};

/// What YAML 1.1 takes for a boolean: readers of that version would not see the name.
pub(crate) const BOOLEANS: [&str; 8] = ["y", "n", "yes", "no", "on", "off", "true", "false"];

/// Words that an expression keeps for itself.
const RESERVED: [&str; 21] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// Inputs are recorded, so none may be called what only a secret is.
const SECRETS: [&str; 6] = ["password", "passwd", "secret", "apikey", "privatekey", "credential"];

const LABEL: &str = "^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$";

impl Form {
    /// Whether it is what Kubernetes takes for a name too.
    pub(crate) fn is_label(&self) -> bool {
        self.pattern == LABEL
    }
}

pub(crate) const PLAN_NAME: Form = Form {
    what: "a plan name such as rolling-restart",
    pattern: LABEL,
    example: "rolling-restart",
    check: |text| plan_name(text).map(drop).map_err(|error| error.to_string()),
};

/// What somebody may call a plan. That one came from a cluster, its name says by itself.
fn plan_name(text: &str) -> Result<PlanName, NameError> {
    let name: PlanName = text.parse()?;
    if name.origin().is_none() { Ok(name) } else { Err(NameError { what: "plan name", text: shortened(text), rule: LABEL_RULE }) }
}

pub(crate) const STEP_NAME: Form = Form {
    what: "a step name such as drain",
    pattern: LABEL,
    example: "drain",
    check: |text| text.parse::<StepName>().map(drop).map_err(|error| error.to_string()),
};

pub(crate) const ROUTE: Form = Form {
    what: "the name of a route such as ops",
    pattern: LABEL,
    example: "ops",
    check: |text| match plan_name(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("`{}` is not the name of a route: {}", error.text, error.rule)),
    },
};

pub(crate) const INPUT_NAME: Form =
    Form { what: "an input name such as batchSize", pattern: "^[a-zA-Z][a-zA-Z0-9_]{0,62}$", example: "batchSize", check: input_name };

fn input_name(text: &str) -> Result<(), String> {
    let letters = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && text.as_bytes().first().is_some_and(u8::is_ascii_alphabetic);
    let lower = text.to_ascii_lowercase();
    if !letters || text.len() > NAME_MAX {
        return Err(format!("`{}` is not an input name: 1 to {NAME_MAX} letters, digits and `_`, with a letter first", shortened(text)));
    }
    if BOOLEANS.contains(&lower.as_str()) {
        return Err(format!("`{text}` is true or false to some YAML readers: give the input another name"));
    }
    if RESERVED.contains(&text) {
        return Err(format!("`{text}` is a word of the expression language: give the input another name"));
    }
    if SECRETS.iter().any(|word| lower.replace('_', "").ends_with(word)) {
        return Err(format!("input `{text}`: inputs are recorded and must hold no secret; use a connection, which keeps it where it is used"));
    }
    Ok(())
}

/// A lease that a step takes for itself.
pub(crate) const LEASE_NAME: Form = Form {
    what: "a lease name such as deploy/shop",
    pattern: "^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$",
    example: "deploy/shop",
    check: |text| {
        let name: LeaseName = text.parse().map_err(|error: crate::id::NameError| error.to_string())?;
        match name.owner() {
            LeaseOwner::Operators => Ok(()),
            LeaseOwner::Mesh(first) => {
                Err(format!("leases under `{first}/` are taken by the mesh itself: choose another name, or wait for it by a gate"))
            }
            LeaseOwner::Client(_) => Err("leases under `client/` belong to other programs: choose another name, or wait for it by a gate".to_owned()),
        }
    },
};

pub(crate) const LEASE_PATTERN: Form = Form {
    what: "a lease name, or a pattern such as backup/prod/*",
    pattern: "^[A-Za-z0-9._*-]+(/[A-Za-z0-9._*-]+)*$",
    example: "backup/prod/*",
    check: |text| {
        text.replace('*', "x")
            .parse::<LeaseName>()
            .map(drop)
            .map_err(|error| format!("`{}` is not a lease name or a pattern of them: {}", shortened(text), error.rule))
    },
};

/// What a backup, a drill or an objective is of.
pub(crate) const BACKUP_TARGET: Form = Form {
    what: "a target of backups such as prod/orders-db",
    pattern: "^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?/[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$",
    example: "prod/orders-db",
    check: |text| text.parse::<BackupTarget>().map(drop).map_err(|error| error.to_string()),
};

pub(crate) const SUBJECT: Form = Form {
    what: "a name such as orders-db",
    pattern: "^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$",
    example: "orders-db",
    check: |text| text.parse::<LeaseName>().map(drop).map_err(|error| format!("`{}` is not a name: {}", shortened(text), error.rule)),
};
