"""transformers' own tests of models, run on ours. What is left out says why; where CLIP's own tests leave it out too, so."""

import unittest

import pytest
import torch

from modeling_mvfer import MVFERConfig, MVFERForFaceClassification, MVFERModel
from tests.conftest import BOS, EOS, TEXT, VISION
from tests.peer.mixins import load

common, configuration = load("test_modeling_common"), load("test_configuration_common")
pytestmark = pytest.mark.slow
OF_THE_TOWERS = (
    "as in CLIP's own tests: hidden states and attentions are the towers', in vision_model_output, text_model_output"
)
NO_EMBEDDINGS = "as in CLIP's own tests: there is no one table of input embeddings"
NO_TEXT = "a classifier has no text tower"


class Sizes:
    """Sizes and inputs of small models."""

    __test__ = False
    batch_size, num_hidden_layers, hidden_size, num_attention_heads, is_training = 4, 2, 16, 2, True
    image_size, patch_size, seq_length = 16, 8, 5  # patches and the class token
    vision_config, text_config = (
        VISION,
        TEXT | {"eos_token_id": 2},
    )  # the oldest rule of CLIP: the tests' texts have no end token

    def __init__(self, parent, **fields):
        self.parent, self.fields = parent, fields

    def get_config(self) -> MVFERConfig:
        sizes = {"projection_dim": 8, "projector_size": 12, "fusion_hidden_size": 6, "num_labels": 3}
        return MVFERConfig(text_config=dict(self.text_config), vision_config=dict(VISION), **sizes | self.fields)

    def prepare_config_and_inputs_for_common(self):
        ids = torch.randint(5, 40, (self.batch_size, 6), generator=torch.Generator().manual_seed(0))
        ids[:, 0], ids[:, -1] = BOS, EOS
        pixels = common.floats_tensor([self.batch_size, 3, self.image_size, self.image_size])
        return self.get_config(), {"pixel_values": pixels, "input_ids": ids, "attention_mask": torch.ones_like(ids)}


class MVFERModelTest(common.ModelTesterMixin, unittest.TestCase):
    all_model_classes = (MVFERModel,)
    additional_model_inputs = ["pixel_values"]
    _is_composite = True
    test_resize_embeddings = False

    def setUp(self):
        self.model_tester = Sizes(self)
        self.config_tester = configuration.ConfigTester(self, config_class=MVFERConfig, has_text_modality=False)

    def test_config(self):
        self.config_tester.run_common_tests()

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs = super()._prepare_for_class(inputs_dict, model_class, return_labels=return_labels)
        return inputs | ({"return_loss": True} if return_labels else {})

    def _image_features_prepare_config_and_inputs(self):
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        return config, {"pixel_values": inputs["pixel_values"]}

    @unittest.skip(OF_THE_TOWERS)
    def test_hidden_states_output(self): ...

    @unittest.skip(OF_THE_TOWERS)
    def test_attention_outputs(self): ...

    @unittest.skip(OF_THE_TOWERS)
    def test_retain_grad_hidden_states_attentions(self): ...

    @unittest.skip(NO_EMBEDDINGS)
    def test_model_get_set_embeddings(self): ...

    @unittest.skip(
        "it subtracts outputs from each other, and view_mask in vision_model_output is no number; see test_graphs.py"
    )
    def test_model_outputs_equivalence(self): ...


class MVFERForFaceClassificationTest(common.ModelTesterMixin, unittest.TestCase):
    all_model_classes = (MVFERForFaceClassification,)
    _is_composite = True
    test_resize_embeddings = False

    def setUp(self):
        self.model_tester = Sizes(self)

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs = {name: value for name, value in inputs_dict.items() if name not in ("input_ids", "attention_mask")}
        labels = {"labels": torch.zeros(self.model_tester.batch_size, dtype=torch.long)} if return_labels else {}
        return inputs | labels

    _image_features_prepare_config_and_inputs = MVFERModelTest._image_features_prepare_config_and_inputs

    @unittest.skip(NO_EMBEDDINGS)
    def test_model_get_set_embeddings(self): ...


for name in dir(MVFERForFaceClassificationTest):
    if name.startswith("test_get_text_features"):
        setattr(MVFERForFaceClassificationTest, name, unittest.skip(NO_TEXT)(lambda self: None))
