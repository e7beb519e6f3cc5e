"""Tables of sites: what is read, and complaints that name the cell."""

import numpy as np
import pytest

from jaxecon.data.sites import load_sites, synthetic_sites
from jaxecon.envs.allocation.settings import make_sequential_allocation


def write(tmp_path, text):
    path = tmp_path / "sites.csv"
    path.write_text(text)
    return path


def test_a_table_is_read_in_any_order_and_case(tmp_path):
    path = write(tmp_path, "Std,SITE,Mean,address\n1,a,10,x\n2.5,b,20,y\n")
    sites = load_sites(path)
    assert sites.names == ("a", "b")
    np.testing.assert_array_equal(sites.mean, [10.0, 20.0])
    np.testing.assert_array_equal(sites.deviation, [1.0, 2.5])
    assert sites.arrival_probability is None
    env, params = make_sequential_allocation(demand=path, num_steps=4)
    assert env.num_agents_served == 2
    np.testing.assert_allclose(params.arrival_probability, np.full((4, 2), 0.25))
    np.testing.assert_allclose(params.budget, 15.0)  # half of one visit each


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("site,mean,std\na,1,1\nb,,1\n", "row 3, column 'mean' of sites.csv is missing"),
        ("site,mean,std\na,1,lots\n", "row 2, column 'std' of sites.csv is 'lots'"),
        ("site,mean,std\na,-1,1\n", "row 2, column 'mean' of sites.csv is '-1'"),
        ("site,mean,std,arrival_probability\na,1,1,1.2\n", "must be a number from 0 to 1"),
        ("site,std\na,1\n", "no column for the mean"),
        ("site,mean,std\na,1,1\na,2,1\n", "'a' comes twice in sites.csv, again in row 3"),
        ("site,mean,std\n,1,1\n", "row 2, column 'site' of sites.csv is missing"),
        ("site,mean,std\n", "has no rows"),
    ],
)
def test_complaints_name_the_cell(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        load_sites(write(tmp_path, text))


def test_no_file(tmp_path):
    with pytest.raises(ValueError, match="No table of sites"):
        load_sites(tmp_path / "nothing.csv")


def test_synthetic_sites_repeat_and_are_positive():
    sites = synthetic_sites()
    assert len(sites.names) == 70
    assert (sites.mean > 0).all()
    np.testing.assert_array_equal(sites.mean, synthetic_sites().mean)
    with pytest.raises(ValueError, match="num_sites must be at least 1"):
        synthetic_sites(0)
