//! Results for tests: two targets and the ceiling, plans with one point and with several, three
//! rounds.

use super::figures::Figure;
use super::results::{
    Build, Case, Cpu, LeftOut, Machine, Memory, PlanInfo, PointInfo, Results, SCHEMA, Settings,
    TargetInfo,
};
use serde_json::json;

/// Results as a comparison may produce them.
pub(super) fn results() -> Results {
    let target = |name: &str, title: &str| TargetInfo {
        name: name.to_owned(),
        title: title.to_owned(),
        version: format!("{title} 1.0"),
    };
    let mut results = Results {
        schema: SCHEMA,
        command: ["simoom", "compare"].map(str::to_owned).to_vec(),
        began: "Sat, 21 Nov 2026 09:00:00 GMT".to_owned(),
        took_seconds: 60.0,
        machine: Machine {
            processor: "A <Processor> & more".to_owned(),
            cores: 2,
            memory_bytes: 1 << 34,
            kernel: "Linux 6.18 x86_64".to_owned(),
        },
        simoom: Build {
            version: "0.1.0".to_owned(),
            commit: "abc".to_owned(),
            profile: "release".to_owned(),
        },
        settings: Settings {
            seconds: 1.5,
            warm_up_seconds: 0.3,
            repeats: 3,
            server_core: 0,
            client_core: 1,
            quick: false,
            open_files_limit: 20_000,
        },
        targets: vec![
            target("xdp", "Simoom, AF_XDP"),
            target("nginx", "nginx"),
            target("ceiling", "ceiling"),
        ],
        left_out: vec![LeftOut {
            target: "nginx".to_owned(),
            plan: Some("scale".to_owned()),
            point: Some("100000".to_owned()),
            reason: "a process may have 20000 files open".to_owned(),
        }],
        plans: vec![
            plan("get-12", "GET 12 B, keep-alive, 50 connections", Figure::Rate, &[("", 50)]),
            plan(
                "scale",
                "GET 12 B by connections open",
                Figure::Scale,
                &[("1", 1), ("1000", 1000), ("100000", 100_000)],
            ),
            plan(
                "latency",
                "Latency at a given rate",
                Figure::Latency,
                &[("peak", 1000), ("50 % of own peak", 1000)],
            ),
            plan(
                "overload",
                "Offered twice its own peak",
                Figure::Rate,
                &[("peak", 1000), ("200 % of own peak", 1000)],
            ),
        ],
        cases: Vec::new(),
    };
    for plan in results.plans.clone() {
        for point in &plan.points {
            for repeat in 1..=3 {
                for (name, rate) in
                    [("xdp", 600_000.0), ("nginx", 200_000.0), ("ceiling", 750_000.0)]
                {
                    let no_server = name == "ceiling" && plan.name == "overload";
                    if name == "nginx" && point.connections > 20_000 || no_server {
                        continue;
                    }
                    let part = match (point.connections, point.name.as_str()) {
                        (1, _) => 0.1,
                        (_, "200 % of own peak") => 0.95,
                        _ => 1.0,
                    };
                    let rate = rate * (0.9 + 0.1 * f64::from(repeat)) * part;
                    results.cases.push(case(&plan.name, point, name, repeat, rate));
                }
            }
        }
    }
    results
}

fn plan(name: &str, title: &str, figure: Figure, points: &[(&str, u32)]) -> PlanInfo {
    let points = points.iter().map(|(name, connections)| PointInfo {
        name: (*name).to_owned(),
        connections: *connections,
    });
    PlanInfo { name: name.to_owned(), title: title.to_owned(), figure, points: points.collect() }
}

fn case(plan: &str, point: &PointInfo, target: &str, repeat: u32, rate: f64) -> Case {
    let p50 = 30_000_000.0 / rate;
    Case {
        plan: plan.to_owned(),
        point: point.name.clone(),
        target: target.to_owned(),
        repeat,
        server: vec![target.to_owned()],
        configuration: None,
        load: match point.name.as_str() {
            "50 % of own peak" => ["load", "--rate", "1000"].map(str::to_owned).to_vec(),
            _ => vec!["load".to_owned()],
        },
        error: None,
        report: Some(json!({
            "responses": rate * 1.5,
            "responses_per_second": rate,
            "content_bytes_per_second": rate * 12.0,
            "latency_us": {
                "p50": p50, "p90": p50 * 1.5, "p99": p50 * 2.0, "p99_9": p50 * 4.0, "p99_99": p50 * 8.0, "max": p50 * 20.0,
            },
        })),
        cpu: Some(Cpu {
            seconds: 1.5,
            server_core: 0.95,
            client_core: 0.8,
            server: 0.7,
            server_stolen: 0.01,
            client_stolen: 0.0,
        }),
        memory: Some(Memory {
            process_bytes: 1_000_000 + 500 * u64::from(point.connections),
            kernel_bytes: 0,
        }),
    }
}
