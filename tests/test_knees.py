"""Knees, areas and paired differences, against numbers worked out by hand."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from core.analysis.comparison import CURVE, curve_names
from core.analysis.knees import areas, knees
from core.analysis.uncertainty import differences, sampling_error
from core.exports.tables import difference_texts, knee_texts, plus_minus
from tests.made_up import scores


def knee_of(table, drop):
    (knee,) = knees(table, [drop]).to_dict("records")
    return knee


def curve_of(table):
    """The values of `CURVE` of a table of one curve."""
    (curve,) = table[CURVE].drop_duplicates().itertuples(index=False, name=None)
    return curve


def test_the_knee_is_the_largest_k_within_the_drop():
    table = scores("a", 0, [0.9, 0.89, 0.4])
    assert [knee_of(table, drop)["k"] for drop in (0.005, 0.01, 0.6)] == [0, 0.5, 0.9]
    assert [knee_of(table, drop)["next"] for drop in (0.005, 0.01)] == [0.5, 0.9]
    assert np.isnan(knee_of(table, 0.6)["next"])
    assert np.isnan(knee_of(table, 0.01)["k_sd"])


def test_the_knee_is_chosen_on_validation_and_reported_on_test():
    table = scores("a", 0, [0.9, 0.7, 0.9], val_accuracy=[0.8, 0.8, 0.5], dense_val_accuracy=0.8)
    knee = knee_of(table, 0.01)
    assert knee["k"] == 0.5
    assert knee["accuracy"] == 0.7
    assert knee["change"] == pytest.approx(-0.2)


def test_the_first_crossing_ends_it_whatever_holds_again_further_on():
    assert knee_of(scores("a", 0, [0.9, 0.8, 0.9]), 0.01)["k"] == 0


def test_each_network_has_a_knee_of_its_own():
    table = pd.concat([scores("a", 0, [0.9, 0.894, 0.2]), scores("b", 1, [0.8, 0.5, 0.2]), scores("c", 2, [0.8] * 3)])
    knee = knee_of(table, 0.01)
    assert knee["n"] == 3
    assert knee["k"] == pytest.approx(np.mean([0.5, 0, 0.9]))
    assert knee["k_sd"] == pytest.approx(np.std([0.5, 0, 0.9], ddof=1))
    # Test accuracy at each network's own knee, not at one k for all of them.
    assert knee["accuracy"] == pytest.approx(np.mean([0.894, 0.8, 0.8]))
    assert knee["accuracy_sd"] == pytest.approx(np.std([0.894, 0.8, 0.8], ddof=1))
    assert knee["change"] == pytest.approx(np.mean([-0.006, 0, 0]))
    assert knee["change_sd"] == pytest.approx(np.std([-0.006, 0, 0], ddof=1))


def test_the_knee_looks_only_where_all_seeds_were_scored():
    table = pd.concat([scores("a", 0, [0.9, 0.9, 0.9]), scores("b", 1, [0.9, 0.9])])
    knee = knee_of(table, 0.01)
    assert (knee["k"], knee["n"], knee["scored"]) == (0.5, 2, 2)


def test_a_curve_has_the_same_knee_whatever_stands_beside_it():
    table = scores("a", 0, [0.9, 0.9, 0.9])
    other = scores("b", 0, [0.9, 0.9], configuration="digits, L1 0.001")
    both = knees(pd.concat([table, other]), [0.01]).set_index("configuration")
    assert both.k.to_dict() == {"digits": 0.9, "digits, L1 0.001": 0.5}
    assert both.k["digits"] == knee_of(table, 0.01)["k"]


@pytest.mark.parametrize(
    "table",
    [
        scores("a", 0, [0.9] * 3, val_accuracy=np.nan, dense_val_accuracy=np.nan),
        scores("a", 0, [0.9] * 3, dense_val_accuracy=0.99),
        pd.concat([scores("a", 0, [0.9, 0.9, 0.9]), scores("b", 1, [0.9]).assign(k=0.3)]),
    ],
    ids=["no validation images", "below the dense network everywhere", "no sparsity in common"],
)
def test_there_may_be_no_knee(table):
    knee = knee_of(table, 0.01)
    assert all(np.isnan(knee[name]) for name in ("k", "k_sd", "next", "accuracy", "change", "change_sd"))
    assert knee_texts(knees(table, [0.01]))["k_0.01"].tolist() == ["–"]


def test_weights_stand_before_units_and_defaults_first():
    kinds = [("unit", "admm"), ("unit", "magnitude"), ("weight", "activation"), ("weight", "magnitude")]
    table = pd.concat([scores("a", 0, [0.9] * 3, method=method, ranking=ranking) for method, ranking in kinds])
    found = knees(table, [0.01])
    assert list(zip(found.method, found.ranking, strict=True)) == kinds[::-1]
    assert [name.split(",")[0] for name in curve_names(table).values()] == ["weight", "weight", "unit", "unit"]


def test_rankings_by_chance_have_no_knees():
    table = pd.concat([scores("a", 0, [0.9] * 3, ranking=name) for name in ("random", "magnitude-shuffled")])
    assert knees(table).empty
    assert knees(pd.DataFrame()).empty


def test_what_is_repaired_has_knees_of_its_own_from_the_dense_network():
    pruned = scores("a", 0, [0.9, 0.5, 0.2])
    repaired = scores("a", 0, [0.9, 0.9, 0.2], ranking="admm", recovery="repair", state="repaired")
    found = knees(pd.concat([pruned, repaired.iloc[1:]]), [0.01]).set_index("state")
    assert found.k.to_dict() == {"as pruned": 0, "repaired": 0.5}


def test_the_area_is_the_mean_accuracy_over_k():
    pair = pd.concat([scores("a", 0, [0.9, 0.8, 0.4]), scores("b", 1, [0.9, 0.9, 0.9])])
    one = (0.5 * (0.9 + 0.8) / 2 + 0.4 * (0.8 + 0.4) / 2) / 0.9
    (area,) = areas(pair, [0, 0.5, 0.9]).itertuples()
    assert area.area == pytest.approx((one + 0.9) / 2)
    assert area.area_sd == pytest.approx(np.std([one, 0.9], ddof=1))
    (part,) = areas(pair.iloc[:3], [0.5, 0.9]).itertuples()
    assert part.area == pytest.approx(0.6)
    assert np.isnan(part.area_sd)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("sparsities", [[0, 0.3, 0.9], [0.5], []])
def test_there_is_no_area_where_a_score_is_missing_or_no_range(sparsities):
    found = areas(scores("a", 0, [0.9, 0.8, 0.4]), sparsities)
    assert found.area.tolist() == pytest.approx([np.nan], nan_ok=True)
    assert found.area_sd.isna().all()


def test_areas_and_differences_stand_in_the_order_of_the_curves():
    """The order of the table, or the default one: never that of the alphabet."""
    kinds = [("weight", "magnitude"), ("weight", "activation"), ("unit", "magnitude"), ("unit", "activation")]
    table = pd.concat(
        scores("a", seed, [0.9, 0.8 + seed / 100, 0.4], method=method, ranking=ranking, agreement=np.nan)
        for method, ranking in kinds
        for seed in (0, 1)
    )
    found = areas(table, [0, 0.9])
    assert list(zip(found.method, found.ranking, strict=True)) == kinds
    found = differences(table, curve_of(table[:1]))
    # Also without an agreement, which runs of earlier versions do not know.
    assert list(zip(found.method, found.ranking, found.k, strict=True)) == [
        (*kind, k) for kind in kinds[1:] for k in (0, 0.5, 0.9)
    ]
    assert found.columns.tolist() == [*CURVE, "k", "n", "difference", "low", "high"]
    assert found.index.tolist() == [*range(9)]


def test_of_no_scores_there_is_no_difference():
    assert differences(pd.DataFrame(), ("digits",)).empty


def pairs():
    """Three seeds by two criteria: far apart from each other, but the second always about 0.1 above the first."""
    first, second = ([0.5, 0.7, 0.9], [0.61, 0.79, 1.0])
    table = [scores("a", seed, [value]) for seed, value in enumerate(first)]
    table += [scores("a", seed, [value], ranking="activation") for seed, value in enumerate(second)]
    return pd.concat(table), np.subtract(second, first)


def test_differences_are_paired_and_have_a_t_interval():
    table, expected = pairs()
    reference = curve_of(table[table.ranking == "magnitude"])
    (row,) = differences(table, reference).itertuples()
    low, high = stats.t.interval(0.95, 2, expected.mean(), stats.sem(expected))
    assert (row.ranking, row.k, row.n) == ("activation", 0, 3)
    assert (row.difference, row.low, row.high) == pytest.approx((expected.mean(), low, high))
    # Unpaired, three networks between 0.5 and 0.9 could not tell 0.1.
    assert row.low > 0
    (back,) = differences(table, curve_of(table[table.ranking == "activation"])).itertuples()
    assert (back.difference, back.low, back.high) == pytest.approx((-row.difference, -row.high, -row.low))


def test_only_seeds_that_both_have_are_paired_and_one_alone_says_nothing():
    table, expected = pairs()
    reference = curve_of(table[table.ranking == "magnitude"])
    table = pd.concat([table, scores("d", 7, [0.1]), scores("e", 8, [0.9], ranking="activation")])
    (row,) = differences(table, reference).itertuples()
    assert (row.n, row.difference) == (3, pytest.approx(expected.mean()))
    one = table[(table.seed == 0) | (table.ranking == "magnitude")]
    assert differences(one, reference).empty
    elsewhere = table.assign(dataset=np.where(table.ranking == "activation", "fashion", "digits"))
    assert differences(elsewhere, reference).empty


def test_a_difference_from_random_pruning_is_from_the_mean_of_its_orders():
    table = [scores("a", seed, [value]) for seed, value in enumerate([0.5, 0.8])]
    orders = [(0, 0, 0.1), (0, 1, 0.3), (1, 0, 0.4), (1, 1, 0.6)]
    table += [scores("a", seed, [value], ranking="random", ranking_seed=order) for seed, order, value in orders]
    (row,) = differences(pd.concat(table), curve_of(table[0])).itertuples()
    assert (row.n, row.difference) == (2, pytest.approx(np.mean([0.2 - 0.5, 0.5 - 0.8])))


def test_differences_are_written_in_points_with_their_interval():
    table, _ = pairs()
    found = differences(table, curve_of(table[table.ranking == "magnitude"]))
    text = difference_texts(found, curve_names(table), points=True)
    (column,) = [name for name in text if name != "k"]
    assert column == "weight, activation, as pruned (n = 3)"
    assert text[column].tolist() == ["+10.00 (+7.52 to +12.48)"]


def test_differences_that_are_no_shares_are_written_as_they_are_and_what_is_unknown_as_a_dash():
    def at(ranking, values, k, **settings):
        pairs = enumerate(values)
        return pd.concat(scores("a", seed, [value], ranking=ranking, **settings).assign(k=k) for seed, value in pairs)

    usual, other = "magnitude", "activation"
    table = [at(usual, [0.5, 0.7, 0.8], k) for k in (0, 0.5)] + [at(other, [0.4, 0.7], 0.5), at(other, [0.5] * 3, 0)]
    table = pd.concat([*table, at(usual, [0.6, 0.7], 0.5, method="unit")])
    found = differences(table, curve_of(table[:1]))
    text = difference_texts(found, curve_names(table), points=False)
    first, second = "weight, activation, as pruned (n = 2 to 3)", "unit, magnitude, as pruned (n = 2)"
    assert text.columns.tolist() == ["k", first, second]
    assert text.k.tolist() == [0, 0.5]
    assert text[first].str.split(" ").str[0].tolist() == ["−0.1667", "−0.0500"]
    assert text[second].tolist() == ["–", "+0.0500 (−0.5853 to +0.6853)"]


def test_knees_are_written_with_all_that_tells_them_apart():
    rest = {"ranking": "activation", "scope": "global", "configuration": "digits, L1"}
    pair = [scores("a", seed, [0.9, 0.89 - seed / 10, 0.4]) for seed in (0, 1)]
    table = pd.concat([*pair, scores("c", 0, [0.8, 0.8, 0.75], **rest)])
    first, second = knee_texts(knees(table, [0.01, 0.5]), areas(table, [0, 0.9])).to_dict("records")
    assert first == {
        "configuration": "digits",
        "method": "weight",
        "state": "as pruned",
        "ranked_by": "magnitude",
        "k_0.01": "0.250 ± 0.354",
        "change_0.01": "−0.50 ± 0.71",
        "k_0.5": "0.900 ± 0.000",
        "change_0.5": "−50.00 ± 0.00",
        "area": "0.650 ± 0.000",
        "step": pytest.approx(0.45),
        "n": 2,
    }
    assert (second["configuration"], second["ranked_by"]) == ("digits, L1", "activation, global")
    assert (second["k_0.01"], second["change_0.01"], second["area"]) == ("0.500", "+0.00", "0.775")
    assert second["step"] == pytest.approx(0.4)
    assert "area" not in knee_texts(knees(table))
    assert (plus_minus(0.5), plus_minus(0.12345678, 0.00012)) == ("0.5000", "0.1235 ± 0.0001")


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((-0.5, 0.25), "−0.50 ± 0.25"),
        ((0.5, np.nan), "+0.50"),
        ((-1e-9, 0.0), "+0.00 ± 0.00"),
        ((np.nan, 0.1), "–"),
    ],
)
def test_a_mean_is_written_with_its_deviation(numbers, text):
    assert plus_minus(*numbers, digits=2, sign=True) == text


def test_a_test_set_has_an_error_of_its_own():
    assert sampling_error(0.98, 10_000) == pytest.approx(0.0014)
    assert sampling_error(0.5, 100) == pytest.approx(0.05)
    drawn = np.random.default_rng(0).binomial(1_000, 0.9, 20_000) / 1_000
    assert sampling_error(0.9, 1_000) == pytest.approx(drawn.std(), rel=0.02)
