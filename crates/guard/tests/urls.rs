//! Each way we know of to name a place that a webhook must not go to, and what is let through beside
//! it. What a URL means is the URL standard's to say (the `url` crate): numbers in any base and of any
//! length, full-width digits, percent-encoding and backslashes all become the host that they are.

use std::sync::Arc;

use triggerline_guard::{Reach, Refused, check_url, is_allowed};

/// As installations are set up.
fn reach() -> Reach {
    Reach { ports: Arc::new([80..=80, 443..=443, 1_024..=65_535]), ..Reach::default() }
}

/// What an error is called here.
fn kind(refused: &Refused) -> &'static str {
    match refused {
        Refused::NotAUrl(_) | Refused::NoHost => "no URL",
        Refused::Scheme { .. } => "scheme",
        Refused::Credentials => "credentials",
        Refused::Address(_) => "address",
        Refused::Name(_) => "name",
        Refused::Port(_) => "port",
    }
}

#[track_caller]
fn judged(urls: &[&str], expected: &str) {
    for url in urls {
        let found = match check_url(url, &reach()) {
            Ok(_) => "let through",
            Err(refused) => kind(&refused),
        };
        assert_eq!(found, expected, "{url}");
    }
}

#[test]
fn the_public_internet_is_let_through() {
    judged(
        &[
            "https://example.com/hook",
            "https://example.com:443/",
            "https://example.com:8443/hook?a=b#c",
            "https://example.com./",
            "https://EXAMPLE.com/",
            "https://xn--bcher-kva.example/",
            "https://bücher.example/",
            "https://a-b.c_d.example/",
            "https://example.com:65535/",
            "https://1.1.1.1/",
            "https://8.8.8.8:8443/",
            "https://93.184.215.14/",
            "https://0x5db8d70e/",
            "https://1572395042/",
            "https://9.255.255.255/",
            "https://11.0.0.0/",
            "https://100.63.255.255/",
            "https://100.128.0.0/",
            "https://126.255.255.255/",
            "https://128.0.0.1/",
            "https://168.63.129.15/",
            "https://168.63.129.17/",
            "https://169.253.255.255/",
            "https://169.255.0.1/",
            "https://172.15.255.255/",
            "https://172.32.0.1/",
            "https://192.167.255.255/",
            "https://192.169.0.1/",
            "https://198.17.255.255/",
            "https://198.20.0.1/",
            "https://223.255.255.255/",
            "https://[2606:2800:21f:cb07:6820:80da:af6b:8b2c]/",
            "https://[2a00:1450:4001:81b::200e]/",
            "https://[2600::]/",
            "https://[::ffff:93.184.215.14]/",
            "https://[64:ff9b::5db8:d70e]/",
            "https://[2002:5db8:d70e::1]/",
            "https://internal.example/",
            "https://localhost.example/",
            "https://local.example.com/",
            "https://169.254.169.254.example.com/",
            "https://127.0.0.1.nip.example/",
        ],
        "let through",
    );
}

#[test]
fn what_is_no_url_goes_nowhere() {
    judged(
        &[
            "example.com",
            "/hook",
            "//example.com/",
            "https://",
            "https:///",
            "https://exa mple.com/",
            "https://example.com:99999/",
            "https://example.com:-1/",
            "https://[::1/",
            "https://[:::1]/",
            "https://[fe80::1%25eth0]/",
            "https://256.0.0.1/",
            "https://1.2.3.4.5/",
            "https://0x100000000/",
            "https://%00example.com/",
            "https://exam%2Fple.com/",
            "https://exam<ple.com/",
            "https://%5b::1%5d/",
        ],
        "no URL",
    );
}

#[test]
fn only_https() {
    judged(
        &[
            "http://example.com/",
            "http://127.0.0.1/",
            "ftp://example.com/",
            "ws://example.com/",
            "wss://example.com/",
            "file:///etc/passwd",
            "file://localhost/etc/passwd",
            "gopher://127.0.0.1:6379/_FLUSHALL",
            "dict://127.0.0.1:11211/stat",
            "ldap://127.0.0.1/",
            "smtp://127.0.0.1:25/",
            "jar:https://example.com/a!/b",
            "javascript:alert(1)",
            "data:text/plain,hello",
            "blob:https://example.com/uuid",
            "unix:/var/run/docker.sock",
            "view-source:https://example.com/",
            "httpss://example.com/",
        ],
        "scheme",
    );
}

#[test]
fn names_and_passwords_are_no_part_of_it() {
    judged(
        &[
            "https://user@example.com/",
            "https://user:pass@example.com/",
            "https://:pass@example.com/",
            "https://example.com@127.0.0.1/",
            "https://example.com:443@127.0.0.1/",
            "https://127.0.0.1%40@example.com/",
            "https://a@b@example.com/",
        ],
        "credentials",
    );
}

#[test]
fn names_of_this_machine_and_its_networks() {
    judged(
        &[
            "https://localhost/",
            "https://localhost./",
            "https://LOCALHOST:8443/",
            "https://ｌｏｃａｌｈｏｓｔ/",
            "https://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/",
            "https://%6c%6f%63%61%6c%68%6f%73%74/",
            "https://a.localhost/",
            "https://a.localhost./",
            "https://metadata.google.internal/computeMetadata/v1/",
            "https://metadata.google.internal./",
            "https://Metadata.Google.Internal/",
            "https://instance-data.ec2.internal/",
            "https://vault.service.internal/",
            "https://printer.local/",
            "https://kubernetes.default.svc.cluster.local/",
            "https://anything.alt/",
        ],
        "name",
    );
}

#[test]
fn addresses_that_are_not_on_the_public_internet() {
    judged(
        &[
            "https://0.0.0.0/",
            "https://0/",
            "https://0.1.2.3/",
            "https://10.0.0.1/",
            "https://10.255.255.255/",
            "https://012.0.0.1/",
            "https://0xa.0.0.1/",
            "https://0xa000001/",
            "https://167772161/",
            "https://100.64.0.1/",
            "https://100.100.100.200/latest/meta-data/",
            "https://100.127.255.255/",
            "https://127.0.0.1/",
            "https://127.0.0.1./",
            "https://127.0.0.1:8443/",
            "https://127.1/",
            "https://127.0.1/",
            "https://127.255.255.254/",
            "https://0x7f.1/",
            "https://0x7f000001/",
            "https://0X7F.0.0.1/",
            "https://0177.0.0.1/",
            "https://0177.0.0.01/",
            "https://00000177.1/",
            "https://017700000001/",
            "https://2130706433/",
            "https://127.0x0.0.0x1/",
            "https://127%2e0%2e0%2e1/",
            "https://①②⑦.⓪.⓪.①/",
            "https://１２７.０.０.１/",
            "https://127。0。0。1/",
            "https://\t127.0.0.1/",
            r"https:\\127.0.0.1\hook",
            "https:127.0.0.1/",
            "https:/127.0.0.1/",
            "https://168.63.129.16/machine?comp=goalstate",
            "https://169.254.0.1/",
            "https://169.254.169.254/latest/meta-data/iam/security-credentials/",
            "https://169.254.169.254./",
            "https://169.254.170.2/v2/credentials",
            "https://169.254.169.123/",
            "https://0xa9fea9fe/",
            "https://0xa9.0xfe.0xa9.0xfe/",
            "https://0251.0376.0251.0376/",
            "https://2852039166/",
            "https://169.16689662/",
            "https://169.254.43518/",
            "https://172.16.0.1/",
            "https://172.17.0.1:2375/containers/json",
            "https://172.31.255.255/",
            "https://192.0.0.1/",
            "https://192.0.0.192/",
            "https://192.0.2.1/",
            "https://192.88.99.1/",
            "https://192.168.0.1/",
            "https://192.168.255.255/",
            "https://192.168.257/",
            "https://198.18.0.1/",
            "https://198.19.255.255/",
            "https://198.51.100.1/",
            "https://203.0.113.1/",
            "https://224.0.0.1/",
            "https://239.255.255.250:1900/",
            "https://240.0.0.1/",
            "https://255.255.255.255/",
            "https://4294967295/",
            "https://[::]/",
            "https://[::1]/",
            "https://[0:0:0:0:0:0:0:1]/",
            "https://[0000::0001]:8443/",
            "https://[::127.0.0.1]/",
            "https://[::10.0.0.1]/",
            "https://[::ffff:0.0.0.0]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:7f00:1]/",
            "https://[::FFFF:169.254.169.254]/",
            "https://[::ffff:a9fe:a9fe]/",
            "https://[::ffff:10.1.2.3]/",
            "https://[::ffff:0:127.0.0.1]/",
            "https://[64:ff9b::127.0.0.1]/",
            "https://[64:ff9b::a9fe:a9fe]/",
            "https://[64:ff9b::10.0.0.1]/",
            "https://[64:ff9b:1::1]/",
            "https://[64:ff9b:1::93.184.215.14]/",
            "https://[2002:7f00:1::]/",
            "https://[2002:a00:1::]/",
            "https://[2002:a9fe:a9fe::]/",
            "https://[2002:c0a8:1::1]/",
            "https://[2001:0:0:0:0:0:80ff:fffe]/",
            "https://[2001:0:4136:e378:8000:63bf:f5ff:fffe]/",
            "https://[2001:0:4136:e378:8000:63bf:5601:5601]/",
            "https://[2001:2::1]/",
            "https://[2001:10::1]/",
            "https://[2001:20::1]/",
            "https://[2001:db8::1]/",
            "https://[3fff::1]/",
            "https://[100::1]/",
            "https://[5f00::1]/",
            "https://[4000::1]/",
            "https://[fc00::1]/",
            "https://[fd00:ec2::254]/latest/meta-data/",
            "https://[fd12:3456::1]/",
            "https://[fe80::1]/",
            "https://[fe80::a9fe:a9fe]/",
            "https://[fec0::1]/",
            "https://[ff00::1]/",
            "https://[ff02::1]/",
        ],
        "address",
    );
}

#[test]
fn ports_of_other_protocols() {
    judged(
        &[
            "https://example.com:22/",
            "https://example.com:25/",
            "https://example.com:53/",
            "https://example.com:110/",
            "https://example.com:465/",
            "https://example.com:587/",
            "https://example.com:993/",
            "https://example.com:0/",
            "https://example.com:81/",
            "https://example.com:1023/",
            "https://example.com:5060/",
            "https://example.com:6667/",
            "https://93.184.215.14:23/",
            "https://[2606:2800::1]:21/",
        ],
        "port",
    );
}

#[test]
fn networks_that_are_opened_are_reached_and_no_others() {
    let networks = Arc::new(["10.1.0.0/16".parse().unwrap(), "fd00:1::/32".parse().unwrap()]);
    let reach = Reach { networks, ..reach() };
    for (url, open) in [
        ("https://10.1.2.3/", true),
        ("https://[::ffff:10.1.2.3]/", true),
        ("https://[fd00:1::5]/", true),
        // What it leads to is judged when it is looked up.
        ("https://billing.internal/", true),
        ("https://10.2.0.1/", false),
        ("https://127.0.0.1/", false),
        ("https://169.254.169.254/", false),
        ("https://[fd00:2::5]/", false),
        ("https://10.1.2.3:22/", false),
        ("http://10.1.2.3/", false),
    ] {
        assert_eq!(check_url(url, &reach).is_ok(), open, "{url}");
    }
    assert!(is_allowed("10.1.0.1".parse().unwrap(), &reach));
    assert!(!is_allowed("127.0.0.1".parse().unwrap(), &reach));
}

#[test]
fn development_opens_loopback_and_http_but_nothing_else() {
    let reach = Reach { http: true, private_networks: true, ..reach() };
    for url in
        ["http://127.0.0.1:9/", "http://localhost:9000/", "https://[::1]/", "http://10.0.0.1/"]
    {
        assert!(check_url(url, &reach).is_ok(), "{url}");
    }
    for url in ["ftp://127.0.0.1/", "http://user:pass@127.0.0.1/", "http://"] {
        assert!(check_url(url, &reach).is_err(), "{url}");
    }
}
