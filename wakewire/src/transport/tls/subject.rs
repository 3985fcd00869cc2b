//! Who a certificate is for, as one text: what stays the same when it is renewed.

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::parse_x509_certificate;
use x509_parser::x509::AttributeTypeAndValue;

/// Returns the subject as RFC 4514 writes it, and behind it the alternative names in order, each after a `;`. Two
/// certificates have the same text only if all of that is the same.
pub(super) fn of(certificate: &CertificateDer<'_>) -> Result<String, String> {
    let (_, parsed) = parse_x509_certificate(certificate)
        .map_err(|error| format!("the peer's certificate cannot be read: {error}"))?;
    let mut parts: Vec<String> = parsed
        .subject()
        .iter()
        .map(|together| {
            let together: Vec<_> = together.iter().map(attribute).collect();
            together.join("+")
        })
        .collect();
    // The most specific part first.
    parts.reverse();
    let mut text = parts.join(",");
    let names = parsed
        .subject_alternative_name()
        .map_err(|error| format!("the peer's certificate cannot be read: {error}"))?;
    let mut names: Vec<_> = names
        .iter()
        .flat_map(|names| &names.value.general_names)
        .map(name)
        .collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        text.push(';');
        text.push_str(&name);
    }
    if text.is_empty() {
        return Err("the peer's certificate names nobody".to_owned());
    }
    Ok(text)
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type();
    let kind =
        oid2abbrev(oid, oid_registry()).map_or_else(|_| oid.to_id_string(), ToOwned::to_owned);
    match attribute.as_str() {
        Ok(value) => format!("{kind}={}", escaped(value)),
        Err(_) => format!("{kind}=#{}", hex(attribute.as_slice())),
    }
}

fn name(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) => format!("DNS:{}", escaped(&name.to_ascii_lowercase())),
        GeneralName::URI(uri) => format!("URI:{}", escaped(uri)),
        GeneralName::RFC822Name(mail) => format!("email:{}", escaped(mail)),
        GeneralName::IPAddress(address) => format!("IP:{}", hex(address)),
        other => format!("other:{}", escaped(&format!("{other:?}"))),
    }
}

/// Nothing inside a value looks like something between two.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for (at, c) in value.chars().enumerate() {
        match c {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=' => text.extend(['\\', c]),
            '#' if at == 0 => text.extend(['\\', c]),
            c if c.is_control() => text.extend(c.escape_unicode()),
            c => text.push(c),
        }
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, DnValue, KeyPair, SanType};

    use super::*;

    fn certificate(names: &[(DnType, &str)], alternative: &[&str]) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in names {
            let value = DnValue::Utf8String((*value).to_owned());
            params.distinguished_name.push(kind.clone(), value);
        }
        for name in alternative {
            let name = (*name).try_into().unwrap();
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().into()
    }

    #[test]
    fn a_renewed_certificate_is_the_same_identity() {
        let names = [
            (DnType::OrganizationName, "Acme"),
            (DnType::CommonName, "feed"),
        ];
        let text = of(&certificate(&names, &["b.example", "A.example"])).unwrap();
        assert_eq!(text, "CN=feed,O=Acme;DNS:a.example;DNS:b.example");
        let renewed = of(&certificate(&names, &["a.example", "b.example"])).unwrap();
        assert_eq!(text, renewed);
    }

    #[test]
    fn nobody_becomes_another_by_what_is_written_into_a_name() {
        let honest = [
            (DnType::OrganizationName, "Acme"),
            (DnType::CommonName, "feed"),
        ];
        for (names, alternative) in [
            (vec![(DnType::CommonName, "feed,O=Acme")], vec![]),
            (vec![(DnType::CommonName, "feed\\,O=Acme")], vec![]),
            (vec![(DnType::CommonName, "feed+O=Acme")], vec![]),
            (honest.to_vec(), vec!["feed.example"]),
        ] {
            assert_ne!(
                of(&certificate(&names, &alternative)).unwrap(),
                of(&certificate(&honest, &[])).unwrap()
            );
        }
        let with_name = of(&certificate(&honest, &["a.example"])).unwrap();
        let forged = [
            (DnType::OrganizationName, "Acme;DNS:a.example"),
            (DnType::CommonName, "feed"),
        ];
        assert_ne!(of(&certificate(&forged, &[])).unwrap(), with_name);
    }

    #[test]
    fn a_certificate_for_nobody_is_nobodys() {
        assert!(of(&certificate(&[], &[])).is_err());
        assert!(of(&CertificateDer::from(vec![1, 2, 3])).is_err());
    }
}
