"""Fields over time as VTKHDF says that they lie; VTK 9.7 read such a file back bit for bit."""

import h5py
import numpy as np
import pytest

from microstructure import store


def test_steps_values_and_order_of_axes(tmp_path):
    rng = np.random.default_rng(0)
    moving, still = rng.random((3, 4, 5, 6)).astype(np.float32), rng.random((4, 5, 6)) < 0.5
    series = {"fields": {"moving": moving, "still": still}, "times": [0.0, 10.0, 25.0], "spacing": [1e-6, 2e-6, 3e-6]}
    store.write(tmp_path / "a.h5", {"x": 1.0}, series=series)
    with h5py.File(tmp_path / "a.h5") as file:
        view = file["VTKHDF"]
        assert view.attrs["Type"] == b"ImageData" and list(view.attrs["WholeExtent"]) == [0, 4, 0, 5, 0, 6]
        assert view["Steps"].attrs["NSteps"] == 3 and list(view["Steps/Values"]) == [0.0, 10.0, 25.0]
        assert list(view["Steps/CellDataOffsets/moving"]) == [0, 1, 2]
        assert list(view["Steps/CellDataOffsets/still"]) == [0, 0, 0]
        np.testing.assert_array_equal(view["CellData/moving"][1], moving[1].transpose(2, 1, 0))
        np.testing.assert_array_equal(view["CellData/still"][0], still.transpose(2, 1, 0))
    assert store.read(tmp_path / "a.h5") == {"x": 1.0}


def test_fields_of_another_number_of_times_are_refused(tmp_path):
    with pytest.raises(ValueError, match="volumes of one shape at 2 times"):
        store.write(
            tmp_path / "a.h5",
            {},
            series={"fields": {"a": np.zeros((3, 4, 5, 6))}, "times": [0.0, 1.0], "spacing": [1e-6] * 3},
        )
    assert not list(tmp_path.iterdir())
