//! The keywords of libpq's connection strings, as of libpq 18.

/// How a keyword is treated.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Support {
    Full,
    /// The value has no effect, as in libpq.
    Ignored,
    /// An error, because without the feature that it asks for a connection might be less safe.
    Refused,
}

pub(crate) struct Keyword {
    pub(crate) name: &'static str,
    /// The environment variable with the same meaning.
    pub(crate) variable: Option<&'static str>,
    pub(crate) support: Support,
}

const fn full(name: &'static str, variable: Option<&'static str>) -> Keyword {
    Keyword {
        name,
        variable,
        support: Support::Full,
    }
}

const fn ignored(name: &'static str) -> Keyword {
    Keyword {
        name,
        variable: None,
        support: Support::Ignored,
    }
}

const fn refused(name: &'static str, variable: Option<&'static str>) -> Keyword {
    Keyword {
        name,
        variable,
        support: Support::Refused,
    }
}

pub(crate) const KEYWORDS: &[Keyword] = &[
    full("service", Some("PGSERVICE")),
    full("servicefile", Some("PGSERVICEFILE")),
    full("host", Some("PGHOST")),
    full("hostaddr", Some("PGHOSTADDR")),
    full("port", Some("PGPORT")),
    full("dbname", Some("PGDATABASE")),
    full("user", Some("PGUSER")),
    full("password", Some("PGPASSWORD")),
    full("passfile", Some("PGPASSFILE")),
    full("options", Some("PGOPTIONS")),
    full("application_name", Some("PGAPPNAME")),
    full("fallback_application_name", None),
    full("connect_timeout", Some("PGCONNECT_TIMEOUT")),
    full("tcp_user_timeout", None),
    full("keepalives", None),
    full("keepalives_idle", None),
    full("keepalives_interval", None),
    full("keepalives_count", None),
    full("target_session_attrs", Some("PGTARGETSESSIONATTRS")),
    full("load_balance_hosts", Some("PGLOADBALANCEHOSTS")),
    full("channel_binding", Some("PGCHANNELBINDING")),
    full("sslmode", Some("PGSSLMODE")),
    full("requiressl", Some("PGREQUIRESSL")),
    full("sslnegotiation", Some("PGSSLNEGOTIATION")),
    full("sslrootcert", Some("PGSSLROOTCERT")),
    full("sslcrl", Some("PGSSLCRL")),
    full("sslcert", Some("PGSSLCERT")),
    full("sslkey", Some("PGSSLKEY")),
    full("sslpassword", None),
    full("sslsni", Some("PGSSLSNI")),
    full("gssencmode", Some("PGGSSENCMODE")),
    // The driver always uses UTF-8.
    ignored("client_encoding"),
    ignored("tty"),
    ignored("authtype"),
    ignored("sslcompression"),
    ignored("krbsrvname"),
    ignored("gsslib"),
    ignored("gssdelegation"),
    refused("replication", None),
    refused("requirepeer", Some("PGREQUIREPEER")),
    refused("require_auth", Some("PGREQUIREAUTH")),
    refused("sslcertmode", Some("PGSSLCERTMODE")),
    refused("sslcrldir", Some("PGSSLCRLDIR")),
    refused("sslkeylogfile", None),
    refused("ssl_min_protocol_version", Some("PGSSLMINPROTOCOLVERSION")),
    refused("ssl_max_protocol_version", Some("PGSSLMAXPROTOCOLVERSION")),
    refused("min_protocol_version", Some("PGMINPROTOCOLVERSION")),
    refused("max_protocol_version", Some("PGMAXPROTOCOLVERSION")),
    refused("scram_client_key", None),
    refused("scram_server_key", None),
    refused("oauth_issuer", None),
    refused("oauth_client_id", None),
    refused("oauth_client_secret", None),
    refused("oauth_scope", None),
];

pub(crate) fn find(name: &str) -> Option<&'static Keyword> {
    KEYWORDS.iter().find(|keyword| keyword.name == name)
}

/// What to use instead of a keyword of another program, or of a misspelled one.
pub(crate) fn advice(unknown: &str) -> Option<String> {
    let unknown = normal(unknown);
    let instead = match unknown.as_str() {
        "schema" | "currentschema" | "searchpath" => "`options` with `-c search_path=SCHEMA`",
        "pgbouncer" | "statementcachesize" | "statementcachecapacity" | "preparethreshold" => {
            return Some(
                "this is not an option of the connection, but of the code that prepares statements"
                    .to_owned(),
            );
        }
        "connectionlimit" | "poolsize" | "maxconnections" => {
            return Some("this is not an option of a connection, but of the pool".to_owned());
        }
        "ssl" => "`sslmode`",
        _ => {
            let meant = KEYWORDS
                .iter()
                .find(|known| normal(known.name) == unknown)?;
            return Some(format!("use `{}`", meant.name));
        }
    };
    Some(format!("use {instead}"))
}

fn normal(name: &str) -> String {
    name.to_ascii_lowercase().replace(['_', '-'], "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_keyword_is_explained_if_another_program_has_it() {
        for (unknown, expected) in [
            ("currentSchema", Some("search_path")),
            ("pgbouncer", Some("prepares statements")),
            ("statement_cache_size", Some("prepares statements")),
            ("connection_limit", Some("of the pool")),
            ("ssl", Some("use `sslmode`")),
            ("ssl_mode", Some("use `sslmode`")),
            ("sslMode", Some("use `sslmode`")),
            ("ApplicationName", Some("use `application_name`")),
            ("nonsense", None),
            ("", None),
        ] {
            let advice = advice(unknown);
            match expected {
                Some(expected) => {
                    assert!(advice.is_some_and(|a| a.contains(expected)), "{unknown}")
                }
                None => assert_eq!(advice, None, "{unknown}"),
            }
        }
    }

    #[test]
    fn the_documentation_lists_every_supported_keyword_and_its_variable() {
        let table = include_str!("../keywords.md");
        for keyword in KEYWORDS {
            let variable = keyword
                .variable
                .map_or(String::new(), |name| format!(" `{name}`"));
            let row = format!("\n| `{}` |{variable} | ", keyword.name);
            let is_there = table.contains(&row);
            assert_eq!(
                is_there,
                keyword.support == Support::Full,
                "{}",
                keyword.name
            );
        }
    }
}
