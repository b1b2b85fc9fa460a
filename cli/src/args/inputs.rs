//! Values for the inputs of a plan, as `run start` and `plan preview` take them.

use clap::Args;

#[derive(Debug, Clone, Default, Args)]
pub struct Inputs {
    /// Value of an input of the plan; the plan says of what type it is, a list is written as JSON
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment)]
    pub set: Vec<(String, String)>,
    /// File with values, a YAML or JSON map; - for standard input. What --set says goes before it
    #[arg(long, value_name = "FILE")]
    pub values: Option<String>,
}

/// `NAME=VALUE`. What the value is, the type of the input decides.
fn assignment(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    if name.is_empty() {
        return Err("there is no name before the =".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_may_hold_anything() {
        assert_eq!(assignment("x=a=b"), Ok(("x".into(), "a=b".into())));
        assert_eq!(assignment("x="), Ok(("x".into(), String::new())));
        assert!(assignment("=x").is_err());
        assert!(assignment("x").is_err());
    }
}
