//! Quotas, moves, growth, nearness, graphs of jobs, and the tables that jobs come from.

use super::*;

#[test]
fn quotas_are_lent_and_taken_back() {
    let lend = |name: &str| Team { name: name.into(), weight: 1.0, quota: Some(4), cohort: Some(0), borrow: 4 };
    let mut jobs = vec![job(0.0, 100.0, 4), job(0.0, 100.0, 4), job(10.0, 50.0, 4)];
    jobs[2].team = 1;
    let mut set = fleet(cluster(2, 4, 1), jobs);
    set.teams = vec![lend("a"), lend("b")];
    let waits = starts(&set, &policy(OrderKind::Fifo, BackfillKind::Greedy));
    assert_eq!(waits, [0.0, 0.0, 100.0], "the second team waits for what it lent");
    let out = replay(&set, &Policy { reclaim: true, ..policy(OrderKind::Fifo, BackfillKind::Greedy) }, &mut NoSteps);
    assert_eq!(out.fates[2].start, 10.0, "it takes back its own at once");
    assert_eq!(out.fates[1].preemptions, 1);
    assert_eq!(out.fates[1].end, 150.0);
    // Nobody borrows more than it may.
    set.teams[0].borrow = 3;
    assert_eq!(starts(&set, &policy(OrderKind::Fifo, BackfillKind::Greedy)), [0.0, 100.0, 10.0]);
}

#[test]
fn moving_a_job_makes_room_on_one_node() {
    // Two nodes of four: three and one are used; a job of four on one node finds room when the single one moves.
    let mut jobs = vec![job(0.0, 100.0, 3), job(0.0, 100.0, 4), job(0.0, 20.0, 0), job(1.0, 10.0, 4)];
    jobs.remove(2);
    jobs[0].ask.accelerators = 2;
    jobs[1].ask.accelerators = 2;
    jobs[2].ask.within = Within::Node;
    let set = fleet(cluster(2, 4, 1), jobs);
    let spread = Policy::new(OrderKind::Fifo, BackfillKind::Easy, PlacementKind::Spread);
    assert_eq!(starts(&set, &spread)[2], 100.0);
    let out = replay(&set, &Policy { migrate: Some(5.0), ..spread }, &mut NoSteps);
    assert_eq!(out.fates[2].start, 1.0);
    assert_eq!(out.fates.iter().map(|f| f.moves).sum::<u32>(), 1);
    assert_eq!(out.fates[0].end.max(out.fates[1].end), 105.0, "the job that moved pays for it");
}

#[test]
fn jobs_grow_into_idle_accelerators_and_shrink_for_others() {
    let mut one = job(0.0, 100.0, 2);
    one.elastic = Some(Elastic { most: 8, serial: 0.0 });
    let set = fleet(cluster(2, 4, 1), vec![one, job(10.0, 10.0, 6)]);
    let grow = Policy { grow: true, ..policy(OrderKind::Fifo, BackfillKind::None) };
    let out = replay(&set, &grow, &mut NoSteps);
    // 10 s at four times the speed, 10 s at its own, the rest at four times.
    assert_eq!(out.fates[1].start, 10.0);
    assert!((out.fates[0].end - (20.0 + 50.0 / 4.0)).abs() < 1e-9, "{}", out.fates[0].end);
    assert_eq!(ends(&set, &fifo())[0], 100.0);
}

#[test]
fn nearness_is_kept_and_the_fullest_subtree_is_taken() {
    let mut c = cluster(8, 4, 2);
    let topology = placement(PlacementKind::Topology);
    let ask = |n, within| Ask { accelerators: n, within, ..ASK };
    let first = find(topology, &c, &ask(6, Within::Leaf)).unwrap();
    let leaf = |n: u32| c.nodes()[n as usize].trees[1];
    assert!(first.iter().all(|p| leaf(p.0) == leaf(first[0].0)));
    c.take(&first, &ask(6, Within::Leaf));
    assert!(find(topology, &c, &ask(9, Within::Leaf)).is_none());
    // Two are left in that leaf: a job of two goes there, not into an empty one.
    let second = find(topology, &c, &ask(2, Within::Leaf)).unwrap();
    assert_eq!(c.nodes()[second[0].0 as usize].trees[1], c.nodes()[first[0].0 as usize].trees[1]);
    // Workers of three do not share nodes of four.
    let workers = Ask { chunk: 3, ..ask(9, Within::Any) };
    assert!(find(topology, &c, &workers).unwrap().iter().all(|p| p.1 == 3));
}

#[test]
fn a_graph_of_jobs_runs_in_order() {
    // A diamond of 10, 20 or 30, and 5 seconds, on one accelerator less than both middle jobs need at once, and a job beside it.
    let mut jobs = vec![job(0.0, 10.0, 1), job(3.0, 100.0, 1), job(f64::INFINITY, 20.0, 1), job(f64::INFINITY, 30.0, 1)];
    jobs.push(job(f64::INFINITY, 5.0, 2));
    let mut set = fleet(cluster(1, 2, 1), jobs);
    set.graph = Graph::new(vec![(0, 2), (0, 3), (2, 4), (3, 4)]);
    let out = replay(&set, &fifo(), &mut NoSteps);
    let seen: Vec<_> = out.fates.iter().map(|f| (f.ready, f.start, f.end)).collect();
    // The last asks for both accelerators, one of which is held until 103 s.
    assert_eq!(seen, [(0.0, 0.0, 10.0), (3.0, 3.0, 103.0), (10.0, 10.0, 30.0), (10.0, 30.0, 60.0), (60.0, 103.0, 108.0)]);
    let runs = set.graph.runs(&set.jobs, &out.fates);
    assert_eq!(runs, [PipelineRun { jobs: vec![0, 2, 3, 4], seconds: 108.0, critical: vec![0, 3, 4] }]);
    // What comes after a job that can never start never comes.
    set.jobs[3].ask.accelerators = 9;
    let out = replay(&set, &fifo(), &mut NoSteps);
    assert!(out.fates[3].rejected && out.fates[4].ready < 0.0);
    assert_eq!(set.graph.runs(&set.jobs, &out.fates)[0].seconds, -1.0);
}

#[test]
fn rows_of_all_formats() {
    let philly = read_trace(
        TraceFormat::Philly,
        "timestamp,duration,num_gpus,gpu_time,cluster\n2017-10-09 07:01:55,66.0,1,66.0,a\n2017-10-09 07:01:56,x,1,1,a\n",
    );
    assert_eq!((philly.jobs.len(), philly.bad.len(), philly.bad[0].line), (1, 1, 3));
    assert_eq!(philly.jobs[0].submit, 1_507_532_515.0);
    let acme = "job_id,user,node_num,gpu_num,cpu_num,type,state,submit_time,duration,queue\nj,u,1,8,64,Other,COMPLETED,2023-03-01 10:00:00+08:00,12,0\n";
    assert_eq!(format_of(acme.lines().next().unwrap()), Some(TraceFormat::Acme));
    let acme = read_trace(TraceFormat::Acme, acme);
    assert_eq!((acme.jobs[0].submit, acme.jobs[0].accelerators), (1_677_636_000.0, 8));
    let pods = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time\np,4000,1024,1,250,T4|V100M16,LS,Running,10,70,20\n";
    assert_eq!(format_of(pods.lines().next().unwrap()), Some(TraceFormat::Openb));
    let pods = read_trace(TraceFormat::Openb, pods);
    assert_eq!((pods.jobs[0].share, pods.jobs[0].cpus, pods.jobs[0].duration, pods.parts[0].as_str()), (250, 4.0, 50.0, "T4|V100M16"));
    let (nodes, bad) = read_nodes("sn,cpu_milli,memory_mib,gpu,model\na,64000,262144,2,P100\nb,96000,786432,0,\n");
    assert_eq!((nodes.len(), bad.len(), nodes[1].part.as_str()), (2, 0, ""));
    let plain = read_trace(TraceFormat::Plain, "submit_s,duration_s,accelerators,team,share\n0,10,1,a,0.5\n1,10,2,b,0.5\n");
    assert_eq!((plain.jobs[0].share, plain.bad.len()), (500, 1));
}
